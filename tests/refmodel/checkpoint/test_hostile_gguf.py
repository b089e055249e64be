"""GGUF files that are broken in a place that means something: each is read, counted, or refused in one line."""

from __future__ import annotations

import random

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from refmodel.checkpoint import open_checkpoint
from refmodel.tree import abstract_params
from tests.held import held, one_line
from tests.refmodel.checkpoint import test_delta_tensors, test_gpt_oss_files
from tests.refmodel.checkpoint.gguf_mutants import mutant, parts_of, written
from tests.refmodel.checkpoint.test_gguf_file import random_model, write_file
from tests.refmodel.families import test_gemma3, test_gemma4

FEW, MANY = 150, 2_000  # `--cases` says otherwise
READ_ONE_IN = {"older": 10, "newer": 15}  # more than; each by itself, so that neither hides how the others end


def with_merges(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*"abcdefgh", "ab", "<s>"])
    writer.add_token_types([1] * 9 + [3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(9)
    writer.add_add_bos_token(False)


def with_scores(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "\u2581", *"abcd", "ab"])
    writer.add_token_scores([0.0] * 8 + [-1.0])
    writer.add_token_types([2, 3, 3] + [1] * 6)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """The parts of a file of each kind, by the families of `READ_ONE_IN`."""
    folder = tmp_path_factory.mktemp("originals")
    factors = {"rope_freqs.weight": np.full(8, 2.0, np.float32)}
    next_, qwen3_5 = (
        (test_delta_tensors.fields_of(case), test_delta_tensors.tensors_of(case))
        for case in ("qwen3-next", "qwen3-5-moe")
    )
    older = [
        write_file(folder / "llama.gguf", "llama", random_model("llama")[1] | factors, also=with_scores),
        write_file(folder / "moe.gguf", "qwen3moe", random_model("qwen3moe")[1], Type.Q8_0, with_merges),
        write_file(folder / "qwen2.gguf", "qwen2", random_model("qwen2")[1], also=with_merges),
        test_gemma3.write_gguf(folder / "gemma3.gguf"),
    ]  # fmt: skip
    newer = [
        test_gpt_oss_files.gguf_file(folder / "gpt-oss.gguf", Type.MXFP4),
        test_delta_tensors.write_gguf(folder / "qwen3next.gguf", "qwen3next", *next_, together=True, fused=False),
        test_delta_tensors.write_gguf(folder / "qwen35moe.gguf", "qwen35moe", *qwen3_5),
        test_gemma4.write_gguf(folder / "gemma4.gguf"),
    ]
    for path in (*older, *newer):
        assert written(parts_of(path)) == path.read_bytes()
    return {"older": [*map(parts_of, older)], "newer": [*map(parts_of, newer)]}


def read_whole(path, *, finite: bool) -> str:
    """How it ends, where nothing raises."""
    opened = open_checkpoint(path)
    config = opened.config
    assert config.params > 0 < config.linear_macs and config.layout_name
    if config.cannot_run:
        assert "\n" not in config.cannot_run
        return "counted"
    wanted = abstract_params(config)
    params = opened.params(jnp.float32)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, wanted)
    if finite:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    try:
        tokenizer = opened.tokenizer()
        assert tokenizer.decode(tokenizer.encode("ab ba").ids) is not None
        opened.end_tokens()
    except ValueError as error:
        one_line(error, path)
    return "read"


def mutants(originals, seed: int, count: int, path) -> dict[str, int]:
    rng, ends = random.Random(seed), {"refused": 0, "counted": 0, "read": 0}
    for _ in range(count):
        content, same_data = mutant(rng.choice(originals), rng)
        path.write_bytes(content)
        with held(len(content)):
            try:
                ends[read_whole(path, finite=same_data and b"general.alignment" not in content)] += 1
            except ValueError as error:
                one_line(error, path)
                ends["refused"] += 1
    return ends


@pytest.mark.parametrize(("family", "one_in"), READ_ONE_IN.items())
def test_mutants_are_refused_counted_or_read(family, one_in, originals, tmp_path):
    ends = mutants(originals[family], 0, FEW, tmp_path / "m.gguf")
    assert ends["refused"] > FEW // 3 and ends["read"] > FEW // one_in and ends["counted"] > 0, ends


@pytest.mark.slow
@pytest.mark.parametrize(("family", "one_in"), READ_ONE_IN.items())
def test_many_mutants_are_refused_counted_or_read(family, one_in, share, originals, tmp_path):
    count = share.count(MANY)
    ends = mutants(originals[family], share.seed, count, tmp_path / "m.gguf")
    assert ends["refused"] > count // 3 and ends["read"] > count // one_in and ends["counted"] > count // 100, ends
