"""Models that are saved: bit for bit the files that they came from, and what is read back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import attention
import refmodel
from refmodel.checkpoint import open_checkpoint
from refmodel.checkpoint.find import open_config
from refmodel.digest import params_digest
from refmodel.packed.codings import parse_coding
from refmodel.source import Model
from refmodel.tokenizer.chat import ChatTemplate
from refmodel.tree import abstract_params, leaves_by_path
from tests.refmodel.checkpoint.test_gguf_file import MODELS, random_model, write_file

GOLDEN = Path(__file__).parents[2] / "golden"
FOLDERS = sorted(path.parent for path in GOLDEN.glob("*/config.json"))
MORE_OF_THE_SAME = ("dense-biases", "dense-window", "llama", "llama-tied", "moe", "moe-window", "qwen3-next-dense")
FUSED = "moe-raw-top-k"  # whose experts are written one by one


def saved_again(model, folder, **how):
    """What is read back, which is the model, and what is saved then, which is the same files."""
    model.save(folder / "first")
    found = refmodel.load(str(folder / "first"), **how)
    assert params_digest(found.params) == params_digest(model.params)
    assert dataclasses.replace(found.config, name=model.config.name) == model.config
    assert found.end_tokens == model.end_tokens
    found.save(folder / "second")
    files, again = (
        {path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("first", "second")
    )
    assert files == again
    return found


def fields_of(folder):
    return json.loads((folder / "first" / "config.json").read_text())


@pytest.mark.parametrize(
    "folder",
    [pytest.param(one, marks=pytest.mark.slow if one.name in MORE_OF_THE_SAME else (), id=one.name) for one in FOLDERS],
)
def test_a_family_s_folder_is_written_as_it_was(folder, tmp_path):
    """Every tensor bit for bit as transformers wrote it; of decays the logarithm, in more digits."""
    saved_again(refmodel.load(str(folder)), tmp_path)
    stored, written = load_file(folder / "model.safetensors"), load_file(tmp_path / "first" / "model.safetensors")
    if folder.name != FUSED:
        assert stored.keys() == written.keys()
    for name in stored.keys() & written.keys():
        if name.endswith("A_log"):
            assert written[name].dtype == np.float64
            np.testing.assert_allclose(written[name], stored[name], rtol=0, atol=2e-7)
        else:
            assert (written[name].dtype, written[name].shape) == (stored[name].dtype, stored[name].shape)
            assert written[name].tobytes() == stored[name].tobytes(), name


@pytest.mark.parametrize("case", ["qwen3-next", "gemma4", "gpt-oss", "moe-and-dense"])
def test_weights_are_written_in_their_dtype(case, tmp_path):
    found = saved_again(refmodel.load(str(GOLDEN / case), jnp.bfloat16), tmp_path, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in leaves_by_path(found.params).values()} == {jnp.dtype("bfloat16")}
    assert fields_of(tmp_path)["dtype"] == "bfloat16"


@pytest.mark.parametrize("arch", MODELS)
def test_a_gguf_file_becomes_a_folder(arch, tmp_path):
    factors = {"rope_freqs.weight": np.arange(1, 9, dtype=np.float32)} if arch == "llama" else {}
    path = write_file(tmp_path / "m.gguf", arch, random_model(arch)[1] | factors)
    saved_again(refmodel.load(str(path)), tmp_path)
    assert fields_of(tmp_path)["model_type"] == {"qwen3moe": "qwen3_moe", "biased llama": "llama"}.get(arch, arch)


def drawn(config):
    """A model whose numbers numpy draws: nothing is compiled for it."""
    rng = np.random.default_rng(7)
    params = jax.tree.map(lambda leaf: -abs(rng.normal(size=leaf.shape)).astype(np.float32), abstract_params(config))
    return Model(config, params, None, "random (seed 7)")


@pytest.mark.parametrize(
    ("spec", "layout", "is_kept", "model_type"),
    [
        ("tiny-dense", "swa(5)+full", False, "qwen3"),  # the family has words for it
        ("tiny-dense", "swa(5,sinks=1)+full", True, "qwen3"),
        ("tiny-dense", "routed(5|full)+routed(3|7|full)+2*full", True, "qwen3"),
        ("tiny-moe", "evict(knorm,budget=7)", True, "qwen3_moe"),
        ("tiny-moe", "msa(5,topk=3,dim=6)+dsa(5,heads=3,dim=6)+qsa(8,dim=6)+msa(5,topk=3,dim=8)", True, "qwen3_moe"),
        ("tiny-dense", "evict(snapkv,budget=1/3)+evict_after(h2o,budget=0.05)", True, "qwen3"),
        ("tiny-hybrid", "swa(5)", True, "qwen3_5_moe_text"),
        ("tiny-hybrid", "delta+full", False, "qwen3_5_moe_text"),
        ("tiny-dense", "delta(2,2,8,8)+full", True, "prefillwall"),
        (str(GOLDEN / "gemma3"), "full", True, "gemma3_text"),  # whose local layers keep positions of their own
        (str(GOLDEN / "gpt-oss"), "full", False, "gpt_oss"),
    ],
)
def test_a_layout_comes_back_with_what_its_variants_have(spec, layout, is_kept, model_type, tmp_path):
    config = open_config(spec).with_layout(layout)
    found = saved_again(drawn(config), tmp_path)
    assert open_config(str(tmp_path / "first")).layout == config.layout
    fields = fields_of(tmp_path)
    kept = fields.get("prefillwall", {}).get("layout")
    assert (kept, fields["model_type"]) == (config.layout_name if is_kept else None, model_type)
    if name := {"routed": ".attn.span_router_", "msa": ".attn.index_"}.get(layout.partition("(")[0]):
        assert {path for path in leaves_by_path(found.params) if name in path}
        assert refmodel.load(str(tmp_path / "first"), layout="swa(3)").config.layout_name == "swa(3)"


def test_the_own_windows_of_a_family_are_kept_under_another_layout(tmp_path):
    """transformers computes the model as it was trained; the layout stands beside."""
    refmodel.load(str(GOLDEN / "gemma3"), layout="swa(3,sinks=1)").save(tmp_path / "first")
    fields, own = fields_of(tmp_path), json.loads((GOLDEN / "gemma3" / "config.json").read_text())
    assert (fields["sliding_window"], fields["layer_types"]) == (own["sliding_window"], own["layer_types"])
    assert fields["prefillwall"] == {"layout": "swa(3, sinks=1)"}


def test_numbers_that_are_none_are_numbers_as_well(tmp_path):
    model = refmodel.load(str(GOLDEN / "dense-tied"))
    odd = np.array(model.params["embed"]["embedding"])
    odd[3, 5:8] = np.nan, np.inf, -0.0
    found = saved_again(dataclasses.replace(model, params=model.params | {"embed": {"embedding": odd}}), tmp_path)
    assert np.isnan(found.params["embed"]["embedding"][3, 5])


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("texts/*/ids.json")), ids=lambda path: path.parent.name)
def test_a_tokenizer_reads_texts_as_before(folder, tmp_path):
    model = refmodel.load(str(GOLDEN / "dense-tied"))
    tokenizer = open_checkpoint(folder.parent).tokenizer()
    found = saved_again(Model(model.config, model.params, tokenizer, "checkpoint", (2, 5)), tmp_path).tokenizer
    for text, ids in json.loads(folder.read_text()):
        assert found.encode(text).ids == ids
        assert found.decode(ids) == tokenizer.decode(ids)


def test_special_tokens_are_split_where_they_were(tmp_path):
    model, tokenizer = (
        refmodel.load(str(GOLDEN / "dense-tied")),
        Tokenizer(WordLevel({"a": 0, "<e>": 1, "?": 2}, unk_token="?")),
    )
    for splits in (True, False):
        tokenizer.encode_special_tokens = splits
        Model(model.config, model.params, tokenizer, "checkpoint", (1,)).save(tmp_path / str(splits))
        assert json.loads((tmp_path / str(splits) / "generation_config.json").read_text()) == {"eos_token_id": 1}
        assert refmodel.load(str(tmp_path / str(splits))).tokenizer.encode_special_tokens is splits


def test_a_chat_is_laid_out_as_before(tmp_path):
    model = refmodel.load(str(GOLDEN / "dense-tied"))
    tokenizer = Tokenizer(WordLevel({"a": 0, "<s>": 1, "?": 2}, unk_token="?"))
    tokenizer.add_special_tokens(["<s>"])
    template = ChatTemplate("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", {"bos_token": "<s>"}, "here")
    found = saved_again(
        Model(model.config, model.params, tokenizer, "checkpoint", (1,), chat_template=template), tmp_path
    )
    assert found.chat_template.around("a") == template.around("a") == "<s>a"
    assert found.tokenizer.encode("<s>a").ids == tokenizer.encode("<s>a").ids
    assert found.encode("a", chat=True).tolist() == [[1, 0]]


def test_end_tokens_may_be_numpy_s_numbers(tmp_path):
    model = refmodel.load(str(GOLDEN / "dense-tied"))
    for name, ends in (("one", (np.int64(3),)), ("two", (np.int32(3), 5))):
        dataclasses.replace(model, end_tokens=ends).save(tmp_path / name)
        assert refmodel.load(str(tmp_path / name)).end_tokens == ends


@dataclass(frozen=True)
class Wedge(attention.Variant):
    """Known to nobody by its name."""

    name = "wedge"

    window: int

    def pattern(self):
        return attention.SpanPattern(span=(self.window,), sink=(self.window,))


def refused(model, folder, **how):
    with pytest.raises(ValueError) as caught:
        model.save(folder, **how)
    assert "\n" not in str(caught.value) and not list(folder.parent.iterdir())
    return str(caught.value)


def test_what_no_folder_holds_is_refused_before_anything_is_written(tmp_path):
    folder, model = tmp_path / "m", refmodel.load(str(GOLDEN / "llama"))
    assert refused(model, folder, overwrite="no") == "overwrite: True or False is wanted, got 'no'"
    said = refused(dataclasses.replace(model, end_tokens=(3, 0.5)), folder)
    assert said == "an end token must be a whole number of at least 0, got 0.5"
    config = open_config("tiny-dense")
    packed = Model(config, abstract_params(config, coding=parse_coding("int8(16)")), None, "checkpoint")
    assert "is packed (int8(16)), and folders are written in floats" in refused(packed, folder)
    lacking = {**model.params, "final_norm": {}}
    said = refused(dataclasses.replace(model, params=lacking), folder)
    assert said == "final_norm.scale is missing; llama needs one of shape (42,)"
    assert "the layout wedge(3) does not read back as it is" in refused(model.with_layout(Wedge(3)), folder)
    odd = dataclasses.replace(model, config=model.config.with_each_layer(value_norm=True))
    assert "llama: no config.json says this model; accepted: models as those of the families" in refused(odd, folder)
    hybrid = refmodel.load(str(GOLDEN / "qwen3-next"))
    above = jax.tree.map(lambda leaf: leaf, hybrid.params)
    decay = above["blocks"]["delta_moe"]["attn"]["decay"] = np.array(above["blocks"]["delta_moe"]["attn"]["decay"])
    decay[1, 2] = 1e-3
    assert "a decay above 0 cannot be written" in refused(dataclasses.replace(hybrid, params=above), folder)
