"""Folders with a broken file: each ends in the parameters that it stands for, or in one line that names it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from refmodel.checkpoint import open_checkpoint
from tests.foreign_values import as_json, mutated, mutated_text
from tests.held import held, one_line
from tests.refmodel.checkpoint.safetensors_mutants import mutant, mutant_index, parts_of, written
from tests.refmodel.checkpoint.test_delta_tensors import GOLDEN
from tests.refmodel.checkpoint.test_gpt_oss_files import packed_folder
from tests.refmodel.checkpoint.written_folder import LLAMA, MOE, assert_same, write_folder

FEW, MANY = 150, 2_000  # `--cases` says otherwise
Ends = dict[str, int]


def torn_or(change: Callable[[Any, random.Random], Any], original: Any, rng: random.Random) -> bytes:
    """JSON that is changed in its values, or in its bytes."""
    return mutated_text(as_json(original), rng) if rng.random() < 0.2 else as_json(change(original, rng)).encode()


def safetensors_mutants(seed: int, count: int, folder: Path) -> Ends:
    """Of a dense model, fused experts, MXFP4, and a hybrid whose projections lie together."""
    rng, ends = random.Random(seed), {"refused": 0, "read": 0}
    write_folder(folder / "dense", LLAMA)
    write_folder(folder / "fused", MOE, fused=True)
    packed_folder(folder / "mxfp4")
    shutil.copytree(GOLDEN / "qwen3-next", folder / "hybrid")
    originals = [(each, (each / "model.safetensors").read_bytes()) for each in sorted(folder.iterdir())]
    wanted = {each: open_checkpoint(each).params(jnp.float32) for each, _ in originals}
    assert all(parts_of(written(*parts_of(one))) == parts_of(one) for _, one in originals)
    for _ in range(count):
        path, original = rng.choice(originals)
        params, (content, is_same) = wanted[path], mutant(original, rng)
        (path / "model.safetensors").write_bytes(content)
        with held(len(content)):
            opened = open_checkpoint(path)
            assert opened.described.params > 0
            try:
                found = opened.params(jnp.float32)
                opened.remarks()
            except ValueError as error:
                one_line(error, path)
                ends["refused"] += 1
                continue
        ends["read"] += 1
        if "head" not in params and "head" in found:  # of a tied model the file may tell one all the same
            assert found.pop("head")["kernel"].shape == (11, 17)
        if is_same:
            assert_same(found, params)
        assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, params)
    return ends


def index_mutants(seed: int, count: int, folder: Path) -> Ends:
    rng, ends = random.Random(seed), {"refused": 0, "read": 0}
    _, params = write_folder(folder, LLAMA, n_shards=3)
    (folder / "folder.safetensors").mkdir()
    path = folder / "model.safetensors.index.json"
    original = json.loads(path.read_text()) | {"metadata": {"total_size": 7}}
    for _ in range(count):
        path.write_bytes(torn_or(mutant_index, original, rng))
        with held(path.stat().st_size):
            try:
                found = open_checkpoint(folder).params(jnp.float32)
            except ValueError as error:
                one_line(error, folder)
                ends["refused"] += 1
                continue
        ends["read"] += 1
        assert_same(found, params)
    return ends


def generation_mutants(seed: int, count: int, folder: Path) -> Ends:
    rng, ends = random.Random(seed), {"refused": 0, "read": 0}
    write_folder(folder, LLAMA)
    path = folder / "generation_config.json"
    original = {"eos_token_id": [3, 5], "bos_token_id": 1, "temperature": 0.5}
    for _ in range(count):
        path.write_bytes(torn_or(mutated, original, rng))
        with held(path.stat().st_size):
            try:
                found = open_checkpoint(folder).end_tokens()
            except ValueError as error:
                one_line(error, path)
                ends["refused"] += 1
                continue
        ends["read"] += 1
        assert found == tuple(sorted(found)) and all(0 <= number < 17 for number in found)
    return ends


@pytest.mark.parametrize("mutants", [safetensors_mutants, index_mutants, generation_mutants])
def test_mutants_are_refused_or_read(mutants, tmp_path):
    ends = mutants(0, FEW, tmp_path)
    assert ends["refused"] > FEW // 4 and ends["read"] > FEW // 10, ends


@pytest.mark.slow
@pytest.mark.parametrize("mutants", [safetensors_mutants, index_mutants, generation_mutants])
def test_many_mutants_are_refused_or_read(share, mutants, tmp_path):
    count = share.count(MANY)
    ends = mutants(share.seed, count, tmp_path)
    assert ends["refused"] > count // 4 and ends["read"] > count // 10, ends
