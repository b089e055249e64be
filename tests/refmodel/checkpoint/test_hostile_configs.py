"""config.json with missing and foreign values: each mutant is a model that runs, one that is counted, or one line."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eval.cost.crossover import crossover_tokens
from refmodel.checkpoint.find import open_config
from refmodel.model import prefill
from refmodel.specification import ModelConfig
from refmodel.tree import abstract_params
from refmodel.weights.random import random_params
from tests.foreign_values import as_json, mutated, mutated_text
from tests.golden.position_cases import BASES, CASES
from tests.golden.real_configs import CONFIGS, SHRINK, shrunken
from tests.held import held, one_line

FEW, MANY = 150, 2_000  # `--cases` says otherwise
TOKENS = 37
GEMMA3, GEMMA4, GEMMA4_DENSE, GPT_OSS, MINISTRAL, QWEN3_NEXT, QWEN3_5 = (
    json.loads((Path(__file__).parents[2] / "golden" / case / "config.json").read_text())
    for case in ("gemma3", "gemma4", "gemma4-dense", "gpt-oss", "ministral", "qwen3-next", "qwen3-5-moe")
)
WITH_PICTURES = {"model_type": "qwen3_5_moe", "vision_config": {"depth": 27}, "text_config": QWEN3_5}
# Qwen3's mixture of experts, Qwen2 and Qwen3, Llama, SmolLM3, Mistral; positions of all kinds; Gemma 3; a whole size of
# 8 bits.  Apart from them, so that neither hides how the others end: hybrids, experts of 4 bits, heads of two sizes.
ORIGINALS = {
    "older": (
        *map(shrunken, SHRINK), *(BASES[base] | fields for base, fields in CASES.values()), *(GEMMA3,) * 4,
        CONFIGS["Qwen3-30B-A3B-FP8"],
    ),
    "newer": (
        *(GPT_OSS, QWEN3_NEXT, QWEN3_5) * 4, *(GEMMA4, GEMMA4_DENSE, MINISTRAL, WITH_PICTURES) * 2,
        CONFIGS["gpt-oss-20b"],
    ),
}  # fmt: skip


def counted(config: ModelConfig) -> None:
    """What costs ask of a description."""
    assert config.layout_name and config.params > 0 < config.linear_macs <= config.params * config.n_layers


def computable(config: ModelConfig) -> None:
    """All numbers of the description that its program takes are such in float32."""
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(config))) == config.params
    for layer in config.at_length(TOKENS).distinct_layers:
        angles_h = (2**31 - 1) * layer.rope.frequencies(layer.heads.head_dim)
        numbers = (layer.rope.attention_factor**2, layer.query_factor, layer.norm.eps, config.embedding_scale)
        assert np.isfinite(np.float32([*angles_h, *numbers])).all()


def runs(config: ModelConfig) -> None:
    """On random weights, beyond most windows and original contexts."""
    params, ids = random_params(config, 0, jnp.float32), jnp.arange(TOKENS)[None] % config.vocab_size
    assert np.isfinite(jax.jit(lambda ids: prefill(config, params, ids)[0])(ids)).all()


def mutants(family: str, seed: int, count: int, folder: Path) -> tuple[dict[str, int], list[ModelConfig]]:
    """How often those of `ORIGINALS[family]` ended how, and the models that are found, each once."""
    rng, path = random.Random(seed), folder / "config.json"
    ends, found = {"refused": 0, "counted": 0, "computed": 0}, {}
    for _ in range(count):
        original = rng.choice(ORIGINALS[family])
        torn = rng.random() < 0.15
        path.write_bytes(mutated_text(as_json(original), rng) if torn else as_json(mutated(original, rng)).encode())
        with held(path.stat().st_size):
            try:
                config = open_config(str(folder))
            except ValueError as error:
                one_line(error, path)
                ends["refused"] += 1
                continue
            counted(config)
            found[config] = None
            if config.cannot_run:
                assert str(path) in config.cannot_run and len(config.cannot_run.splitlines()) == 1
                ends["counted"] += 1
                continue
            computable(config)
            ends["computed"] += 1
    return ends, list(found)


@pytest.mark.parametrize("family", ORIGINALS)
def test_mutants_are_refused_counted_or_computed(family, tmp_path):
    ends, _ = mutants(family, 0, FEW, tmp_path)
    assert ends["refused"] > FEW // 8 and ends["computed"] > FEW // 4 and ends["counted"] > FEW // 30, ends


@pytest.mark.slow
@pytest.mark.parametrize("family", ORIGINALS)
def test_many_mutants_are_refused_counted_or_computed(family, share, tmp_path, fast_compile):
    count = share.count(MANY)
    ends, found = mutants(family, share.seed, count, tmp_path)
    assert ends["refused"] > count // 8 and ends["computed"] > count // 4 and ends["counted"] > count // 30, ends
    rng = random.Random(share.seed)
    for config in rng.sample(found, 30):
        assert crossover_tokens(config) != 0
    for config in rng.sample([one for one in found if not one.cannot_run and one.params < 10**6], 6):
        runs(config)
