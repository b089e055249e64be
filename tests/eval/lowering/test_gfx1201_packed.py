"""The whole 30B with packed weights, compiled for gfx1201: what it takes is what is counted, and fits 32 GB."""

from __future__ import annotations

import pytest

from eval.cost.flops.formats import weight_bytes
from eval.cost.flops.traffic import kv_cache_bytes
from eval.lowering.programs import ModelProgram
from eval.lowering.report import memory_fit
from refmodel.presets import preset

pytestmark = pytest.mark.lower

MODEL, WEIGHTS = "qwen3-30b-a3b", "int4(32)"


def test_a_long_prompt_fits_with_its_cache_and_temporaries(compiling) -> None:
    """65,536 tokens with full attention: 17 GB of weights, 6.4 of cache, 4.5 of temporaries."""
    compiled, config = compiling(ModelProgram("prefill", MODEL, "full", 65_536, weights=WEIGHTS)), preset(MODEL)
    fit = memory_fit(compiled)
    assert fit["fits"] == {WEIGHTS: True} and fit["peak_bytes"][WEIGHTS] < 29e9
    assert compiled.memory["argument_bytes"] == weight_bytes(config, WEIGHTS) + 4 * 65_536  # token ids
    assert 0 <= compiled.memory["output_bytes"] - kv_cache_bytes(config, 65_536) < 2**24  # positions and logits


def test_temporaries_are_those_of_bf16(compiling) -> None:
    """No layer is expanded: the experts of one take 1.2 GB in bf16."""
    packed, plain = (
        compiling(ModelProgram("prefill", MODEL, "full", 16_384, weights=weights)) for weights in (WEIGHTS, "")
    )
    assert packed.memory["temp_bytes"] < 1.03 * plain.memory["temp_bytes"]
    step = compiling(ModelProgram("decode", MODEL, "full", 16_384, weights=WEIGHTS))
    assert step.memory["temp_bytes"] < 2**20
