"""GGUF headers: the fields of every architecture, and a refusal of what is neither run nor counted."""

from __future__ import annotations

import math
from types import MappingProxyType

import gguf
import numpy as np
import pytest

from refmodel.checkpoint import open_checkpoint
from refmodel.decoder import decoder
from refmodel.parts import Experts, Rope
from refmodel.rope_scaling import Divided, Linear, Llama3, LongRope, Yarn, plain_frequencies, yarn_attention
from tests.checkpoints import from_gguf

DENSE_KEYS = {
    "block_count": 3, "embedding_length": 20, "attention.head_count": 6, "attention.head_count_kv": 2,
    "feed_forward_length": 13, "context_length": 31, "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.key_length": 14, "attention.value_length": 14, "rope.freq_base": 5e6,
}  # fmt: skip
WINDOW = {"attention.sliding_window": 3}
MOE_KEYS = DENSE_KEYS | {"expert_count": 11, "expert_used_count": 3, "expert_feed_forward_length": 7}


def write_gguf(
    path, arch, keys, tensors=("token_embd.weight",), factors=MappingProxyType({}), general=MappingProxyType({})
):
    writer = gguf.GGUFWriter(path, arch)
    for key, value in ({f"{arch}.{key}": value for key, value in keys.items()} | general).items():
        add = {
            bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
            list: writer.add_array,
        }  # fmt: skip
        add[type(value)](key, value)
    for name in tensors:
        writer.add_tensor(name, np.zeros((17, 20), np.float32))
    for name, values in factors.items():
        writer.add_tensor(f"{name}.weight", np.array(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_dense(tmp_path):
    config = from_gguf(write_gguf(tmp_path / "a.gguf", "qwen3", DENSE_KEYS, ("token_embd.weight", "output.weight")))
    expected = decoder(
        "a", n_layers=3, d_model=20, n_heads=6, n_kv_heads=2, head_dim=14, vocab_size=17, d_ff=13, rope=Rope(5e6),
        norm_eps=1e-5, max_positions=31,
    )  # fmt: skip
    assert config == expected


def test_gguf_moe_and_llama(tmp_path):
    moe = from_gguf(write_gguf(tmp_path / "a.gguf", "qwen3moe", MOE_KEYS))
    (layer,) = moe.distinct_layers
    assert (layer.feed_forward, moe.tied_head, layer.qk_norm) == (Experts(11, 3, 7), True, True)
    assert not from_gguf(write_gguf(tmp_path / "b.gguf", "llama", DENSE_KEYS)).layers[0].qk_norm


@pytest.mark.parametrize(
    ("arch", "keys", "message"),
    [
        (
            "gemma2",
            DENSE_KEYS,
            "general.architecture is 'gemma2'; accepted: 'q",
        ),
        (
            "qwen3",
            {key: DENSE_KEYS[key] for key in DENSE_KEYS if key != "block_count"},
            "qwen3: block_count is missing",
        ),
        ("qwen3moe", DENSE_KEYS, "qwen3moe: expert_count is missing"),
        ("qwen3moe", MOE_KEYS | {"expert_shared_count": 1}, "expert_shared_count is 1"),
        ("llama", MOE_KEYS, "llama: expert_count is 11"),
        ("llama", DENSE_KEYS | {"attention.value_length": 12}, "attention.value_length is 12"),
        ("llama", DENSE_KEYS | {"attention.sliding_window": 8}, "attention.sliding_window is 8"),
        *(
            (arch, DENSE_KEYS | {"attention.causal": False}, f"{arch}: attention.causal is False; accepted: True")
            for arch in ("llama", "qwen2", "qwen3", "smollm3", "gemma3")
        ),
        ("llama", DENSE_KEYS | {"nextn_predict_layers": "1"}, "nextn_predict_layers must be of type int, got '1'"),
        (
            "llama",
            DENSE_KEYS | {"nextn_predict_layers": 3},
            "llama: block_count must be from 1 to 10,000, got 0",
        ),
        ("llama", DENSE_KEYS | {"block_count": 2**31}, "block_count must be a whole number of 32 bits, got 2147483648"),
        ("llama", DENSE_KEYS | {"embedding_length": 0}, "a.gguf: a: d_model must be at least 1, got 0"),
        (
            "llama",
            DENSE_KEYS | {"attention.layer_norm_rms_epsilon": math.nan},
            "rms_epsilon must be from 0 to 1",
        ),
        (
            "gemma3",
            DENSE_KEYS | {"attention.head_count": 0, "block_count": 62, "attention.sliding_window": 3},
            "n_heads",
        ),
        (
            "gemma3",
            DENSE_KEYS | WINDOW | {"attention.sliding_window_pattern": [True, False]},
            r"attention.sliding_window_pattern must hold true or false for each of 3 layers, got \[True, False\]",
        ),
    ],
)
def test_gguf_refusals(tmp_path, arch, keys, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_gguf(write_gguf(tmp_path / "a.gguf", arch, keys))
    assert str(caught.value).startswith(str(tmp_path / "a.gguf")) and "\n" not in str(caught.value)


def test_a_name_of_several_lines_is_told_on_one(tmp_path):
    path = write_gguf(tmp_path / "a.gguf", "llama", DENSE_KEYS, general={"general.name": "a\nb"})
    assert from_gguf(path).name == r"'a\nb'"


YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}


@pytest.mark.parametrize(
    ("keys", "factors", "scaling"),
    [
        ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, {}, None),
        ({"rope.scaling.factor": 0.0}, {}, None),
        ({"rope.scaling.factor": 4.0}, {}, Linear(4.0)),
        ({"rope.scale_linear": 2.0}, {}, Linear(2.0)),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, {"rope_freqs": [1.0] * 7}, Linear(4.0)),
        (YARN, {}, Yarn(4.0, 31, yarn_attention(4.0))),
        (
            YARN | {"rope.scaling.original_context_length": 11, "rope.scaling.attn_factor": 0.5,
                    "rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0},
            {}, Yarn(4.0, 11, 0.5 * yarn_attention(4.0), 16.0, 2.0),
        ),
        ({}, {"rope_freqs": [1.0] * 6 + [8.0]}, Divided((1.0,) * 6 + (8.0,))),
        (
            {"rope.scaling.type": "longrope", "rope.scaling.original_context_length": 11,
             "rope.scaling.attn_factor": 1.5},
            {"rope_factors_long": [2.0] * 7, "rope_factors_short": [1.0] * 7},
            LongRope((1.0,) * 7, (2.0,) * 7, 11, 1.5),
        ),
    ],
)  # fmt: skip
def test_gguf_positions(tmp_path, keys, factors, scaling):
    path = write_gguf(tmp_path / "a.gguf", "llama", DENSE_KEYS | keys, factors=factors)
    config = from_gguf(path)
    assert (config.layers[0].rope, config.cannot_run) == (Rope(5e6, scaling), "")
    assert not {f"{name}.weight" for name in factors} & open_checkpoint(path).shapes().keys()


def test_gguf_factors_are_llama3_s(tmp_path):
    """llama.cpp's converter keeps Llama 3's scaling as factors of the frequencies (theta^(-2i/H) over the scaled)."""
    llama3 = Llama3(8.0, 1.0, 4.0, 8192)
    factors = plain_frequencies(5e6, 14) / llama3.frequencies(5e6, 14)
    found = from_gguf(write_gguf(tmp_path / "a.gguf", "llama", DENSE_KEYS, factors={"rope_freqs": factors}))
    np.testing.assert_allclose(found.layers[0].rope.frequencies(14), llama3.frequencies(5e6, 14), rtol=1e-6)


@pytest.mark.parametrize(
    ("keys", "factors", "message"),
    [
        ({"rope.scaling.type": "ntk"}, {}, "rope.scaling.type is 'ntk'; accepted: 'none', 'linear'"),
        ({"rope.scaling.alpha": 1000.0}, {}, "rope.scaling.alpha is 1000.0"),
        ({"rope.scaling.type": "longrope"}, {}, "is 'longrope' and rope_factors_long.weight is missing"),
        ({}, {"rope_factors_long": [2.0] * 7}, "holds one of rope_factors_long.weight and rope_factors_short.weight"),
        (YARN, {"rope_freqs": [2.0] * 7}, "rope.scaling.type is 'yarn' beside factors of each frequency"),
        ({"rope.dimension_count": 7}, {}, "rope.dimension_count is 7; accepted: 14"),
        ({"attn_logit_softcapping": 50.0}, {}, "attn_logit_softcapping is 50.0; accepted: 0"),
        ({"attention.clamp_kqv": 8.0}, {}, "attention.clamp_kqv is 8.0; accepted: 0"),
        ({"rope.freq_base": -5.0}, {}, "rope.freq_base must be above 0, got -5.0"),
        ({"rope.freq_base": math.nan}, {}, "rope.freq_base must be above 0, got nan"),
        ({"rope.freq_base": 1.0} | YARN, {}, "yarn positions need a base (theta) above 1, got 1.0"),
        ({"rope.scaling.factor": -4.0}, {}, "rope.scaling.factor must be above 0, got -4.0"),
        ({"rope.scale_linear": -4.0}, {}, "rope.scale_linear must be above 0, got -4.0"),
        (YARN | {"rope.scaling.attn_factor": 0.0}, {}, "rope.scaling.attn_factor must be above 0, got 0.0"),
        (YARN | {"rope.scaling.yarn_beta_fast": -1.0}, {}, "rope.scaling.yarn_beta_fast must be above 0, got -1.0"),
        (
            YARN | {"rope.scaling.original_context_length": 0}, {},
            "original_context_length must be from 1 to 2,147,483,647, got 0",
        ),
        ({}, {"rope_freqs": [2.0]}, "rope_freqs.weight has shape (1,); accepted: (7,), one for each frequency"),
        ({}, {"rope_freqs": [1.0] * 8}, "rope_freqs.weight has shape (8,); accepted: (7,), one for each frequency"),
        ({}, {"rope_freqs": [[2.0] * 7]}, "rope_freqs.weight has shape (1, 7); accepted: (7,), one for each frequency"),
        ({}, {"rope_freqs": [2.0] * 6 + [0.0]}, "rope_freqs.weight must hold 7 numbers above 0, got 7 items, 6"),
        ({}, {"rope_freqs": [2.0] * 6 + [math.inf]}, "rope_freqs.weight must hold 7 numbers above 0, got 7 items, 6"),
        (
            {}, {"rope_factors_long": [2.0] * 7, "rope_factors_short": [math.nan] * 7},
            "rope_factors_short.weight must hold 7 numbers above 0, got 7 items, 0 of them so",
        ),
    ],
)  # fmt: skip
def test_gguf_positions_that_are_counted_and_not_run(tmp_path, keys, factors, message):
    assert message in from_gguf(write_gguf(tmp_path / "a.gguf", "llama", DENSE_KEYS | keys, factors=factors)).cannot_run


def test_gguf_without_embedding(tmp_path):
    with pytest.raises(ValueError, match=r"token_embd.weight is missing"):
        from_gguf(write_gguf(tmp_path / "a.gguf", "llama", DENSE_KEYS, ("output.weight",)))


def test_gguf_unreadable_file_is_named(tmp_path):
    whole = write_gguf(tmp_path / "whole.gguf", "llama", DENSE_KEYS).read_bytes()
    swapped = whole[:4] + whole[4:8][::-1] + whole[8:]
    for content in (b"", b"something else entirely", whole[:100], whole[:200], swapped):
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.gguf: not a readable GGUF file"):
            from_gguf(broken)
    with pytest.raises(ValueError, match=r"absent.gguf: not a readable GGUF file"):
        from_gguf(tmp_path / "absent.gguf")
