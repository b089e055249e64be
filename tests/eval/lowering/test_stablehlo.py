"""The cheap tier, without any plugin: every registered variant's prefill lowers to StableHLO for ROCm."""

from __future__ import annotations

import jax
import pytest

from eval.lowering.programs import KINDS, ModelProgram
from tests.examples import EXAMPLES


def lowered_text(program: ModelProgram) -> str:
    function, arguments = program.build()
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=("rocm",)).as_text()


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_variant_lowers(example: str) -> None:
    text = lowered_text(ModelProgram("prefill", "tiny-moe", example, 61))
    assert "stablehlo.dot_general" in text and "bf16" in text


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("model", ["tiny-dense", "tiny-moe"])
def test_every_step_of_the_model_lowers(model: str, kind: str) -> None:
    assert "stablehlo.dot_general" in lowered_text(ModelProgram(kind, model, "swa(13)+full", 29))


@pytest.mark.parametrize("kind", ["decode", "training"])
def test_so_do_layouts_that_depend_on_the_length(kind: str) -> None:
    layout = "spans(0.3N, sinks=2)+evict(knorm, budget=0.3, chunk=7)"
    assert "stablehlo.dot_general" in lowered_text(ModelProgram(kind, "tiny-dense", layout, 29))


def test_unknown_programs_and_types_are_refused() -> None:
    with pytest.raises(ValueError, match="no program 'walk'; accepted: prefill, decode, quality, training"):
        ModelProgram("walk", "tiny-moe")
    with pytest.raises(ValueError, match="no dtype 'fp8'; accepted: bf16, f16, f32"):
        ModelProgram("prefill", "tiny-moe", dtype="fp8")
