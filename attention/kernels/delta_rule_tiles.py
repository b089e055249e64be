"""Sizes of the kernels of the gated delta rule, by target."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp


@dataclass(frozen=True)
class DeltaRuleTiles:
    """Sizes of the kernels of the gated delta rule, powers of two.

    Attributes:
        values: columns of a head's state in a program.
        out_values: columns of the output in a program.
        depth: of the keys, in one step of a contraction.
        warps, stages: warps of a program that carries the state, and chunks in flight from memory.
        inverse_warps: warps of a program that inverts a chunk's matrix.
    """

    values: int
    out_values: int
    depth: int
    warps: int
    stages: int
    inverse_warps: int


DELTA_RULE: dict[tuple[str, int], DeltaRuleTiles] = {
    # (target, bytes of an input element), for heads of 128: measured on an H200; none spills on gfx1201.
    ("sm_90", 2): DeltaRuleTiles(32, 128, 128, 4, 3, 2),
    ("gfx1201", 2): DeltaRuleTiles(64, 64, 32, 4, 1, 2),
}


def delta_rule_tiles(target: str, dtype: jnp.dtype) -> DeltaRuleTiles:
    """Sizes of the kernels of the gated delta rule for operands of `dtype`."""
    return DELTA_RULE.get((target, jnp.dtype(dtype).itemsize), DeltaRuleTiles(16, 16, 16, 4, 1, 4))
