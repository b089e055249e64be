"""Steps of models under every variant compile for gfx1201, and a decode step copies no cache: `make lower`."""

from __future__ import annotations

import math
import re

import pytest

from eval.cost.flops.hlo import array_dims, parse_hlo
from eval.lowering.programs import ModelProgram
from eval.lowering.report import read_result
from refmodel.presets import preset
from tests.examples import EXAMPLES

pytestmark = pytest.mark.lower

FOURS = [EXAMPLES[i : i + 4] for i in range(0, len(EXAMPLES), 4)]


@pytest.mark.parametrize("variants", FOURS, ids="+".join)
def test_every_variant_compiles(compiling, variants: tuple[str, ...]) -> None:
    """Several variants in one model, a layer each: most of a compile is what they share."""
    layout = "+".join([*variants, *("full",) * (4 - len(variants))])
    compiled = compiling(ModelProgram("prefill", "tiny-moe", layout, 61))
    assert not compiled.error and compiled.memory["temp_bytes"] > 0


@pytest.mark.parametrize("kind", ["decode", "quality", "training"])
def test_every_step_compiles(compiling, kind: str) -> None:
    compiled = compiling(ModelProgram(kind, "tiny-moe", "swa(13)+full", 61))
    assert not compiled.error and compiled.memory["output_bytes"] > 0


def test_a_decode_step_copies_no_layer_of_the_cache(compiling) -> None:
    """Windowed or full: what its layers compute has no keys but the token's own, and their kernels write in place."""
    compiled, config = compiling(ModelProgram("decode", "tiny-moe", "swa(101)+full", 199)), preset("tiny-moe")
    keys, moved = (config.n_kv_heads, config.head_dim), ("tuple", "get-tuple-element", "parameter", "custom-call")
    shapes = [
        array_dims(shape)
        for name, instructions in parse_hlo(compiled.hlo).computations.items()
        if not name.startswith("main")  # the arguments, which nobody gave away, are copied once
        for one in instructions.values()
        if one.opcode not in moved
        for shape in re.findall(r"\w+\[[\d,]+\]", one.shape)
    ]
    of_keys = [shape for shape in shapes if shape[-2:] == keys]
    assert of_keys and max(map(math.prod, of_keys)) == math.prod(keys)
    names = {re.sub(r"_+\d*$", "", kernel.name) for kernel in read_result(compiled).kernels}
    assert {"decode_attention", "merge_decode_attention", "write_token"} <= names
