"""Where the target is there after all: the programs that were compiled for it, run and timed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from attention.kernels.target import current_target
from eval.lowering.programs import Program
from eval.lowering.target import Target
from eval.measure.timing import Budget, Timing, compile_program, time_programs

SCALE = 0.02
"""Of random weights and activations; a usual initialisation."""


def is_here(chosen: Target) -> bool:
    """Whether the first device of this process is the target."""
    return current_target() == chosen.name


def time_here(programs: Iterable[Program], budget: Budget = Budget()) -> dict[str, Timing | str]:
    """The timing of each program on the first device, by title, or why there is none; the others go on.

    Operands are random.
    """
    timings: dict[str, Timing | str] = {}
    for program in programs:
        function, shapes = program.build()
        try:
            compiled = compile_program(function, *_operands(shapes))
            timings |= time_programs({program.title: compiled}, budget)
        except (jax.errors.JaxRuntimeError, MemoryError, ValueError, NotImplementedError) as error:
            timings[program.title] = " ".join(str(error).split())
    return timings


def _operands(shapes: Any) -> Any:
    """Random arrays: values of a small variance, and integers that any vocabulary has."""
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(0), len(leaves))

    def draw(key: jax.Array, like: jax.ShapeDtypeStruct) -> jax.Array:
        if jnp.issubdtype(like.dtype, jnp.floating):
            return (SCALE * jax.random.normal(key, like.shape, jnp.bfloat16)).astype(like.dtype)
        return jax.random.randint(key, like.shape, 0, 256, like.dtype)

    return jax.tree.unflatten(tree, map(draw, keys, leaves))
