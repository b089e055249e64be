"""A product with one matrix of a stack in plain XLA: a packed one is expanded, and no other with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax import lax

from refmodel.packed.packed import Packed


def at(stack: jax.Array, place: tuple[jax.Array, ...]) -> jax.Array:
    """`stack[place]`, by one slice: of a layer and an expert of it, the layer alone would be copied."""
    sizes = stack.shape[len(place) :]
    return lax.dynamic_slice(stack, (*place, *(0 for _ in sizes)), (*(1 for _ in place), *sizes)).reshape(sizes)


def times_packed(x: jax.Array, stack: Packed, place: tuple[jax.Array, ...], **how: Any) -> jax.Array:
    """x [..., depth] times the packed matrix [rows, depth] at `place` of a stack: [..., rows].

    The matrix is rounded to x's dtype; `how` is what `lax.dot_general` takes.
    """
    place = (stack.slot(place[0]), *place[1:])
    parts = {name: at(part, place) for name, part in stack.parts.items()}
    one = dataclasses.replace(stack, parts=parts, shape=stack.shape[len(place) :], dtype=x.dtype, slots=None)
    return lax.dot_general(x, one.expand(), (((x.ndim - 1,), (1,)), ((), ())), **how)
