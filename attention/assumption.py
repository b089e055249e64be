"""Choices that no one can count without running them, and what counts take them for.

A router that reads the tokens makes a program's cost depend on the tokens.  Whoever counts without running says what
he assumed; the program carries the assumption beside the choice, so that every count assumes the same.
"""

from __future__ import annotations

from typing import Final

import jax

STAND_IN: Final = "chosen_or_for_counting_assumed"
"""The name of the call in a jaxpr: its operands are the choice and the assumption."""


def assumed_in_counts(chosen: jax.Array, assumed: jax.Array) -> jax.Array:
    """`chosen`, unchanged; a counter goes on with `assumed`, of the same shape."""

    def call(chosen: jax.Array, assumed: jax.Array) -> jax.Array:
        return chosen

    call.__name__ = call.__qualname__ = STAND_IN
    return jax.jit(call)(chosen, assumed)
