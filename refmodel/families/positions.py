"""Rotary positions as config.json files spell them: `rope_scaling`, `rope_parameters`, fields of their own.

What the fields mean is what transformers (5.24) makes of them.  Positions that are not computed are told, not raised:
counting needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from refmodel.fields import LEAST_ABOVE_0, MOST_NUMBER, MOST_WHOLE, Fields, naming, told
from refmodel.layer_spec import MOST_OF_HEADS
from refmodel.parts import Rope
from refmodel.rope_scaling import (
    Divided,
    Dynamic,
    Linear,
    Llama3,
    LongRope,
    Proportional,
    Scaling,
    Yarn,
    longrope_attention,
    yarn_attention,
)

ORIGINAL: Final = "original_max_position_embeddings"
_MOST_FACTOR: Final = float(np.float32(MOST_NUMBER))  # as files of float32 have it
PROPORTIONAL: Final = "proportional"
_MOST_ANGLE: Final = 1e15
"""Of a frequency and of a factor of cos and sin: times any position, or squared, float32 holds it."""


class Positions(NamedTuple):
    """A layer's positions, and why they are not computed; empty where they are."""

    rope: Rope
    cannot_run: str = ""


class _Context(NamedTuple):
    """What a scaling's fields are read beside: the model's context and head size."""

    max_positions: int
    head_dim: int


def positions(fields: Fields, head_dim: int) -> Positions:
    """Of a family with one kind of them: `rope_scaling` counts before `rope_parameters`."""
    group = "rope_scaling" if fields.values.get("rope_scaling") else "rope_parameters"

    def read() -> Rope:
        fields.require("partial_rotary_factor", 1)
        values = fields.get(group, dict, {})
        original = fields.get(ORIGINAL, int, None)
        values = values if original is None else {**values, ORIGINAL: original}
        return _rope(Fields(values, f"{fields.where}: {group}"), fields, head_dim)

    return Positions(*told(read, Rope()))


def positions_of(fields: Fields, own: Callable[[], Mapping[str, Any]], where: str, head_dim: int) -> Positions:
    """Of one kind of layers, whose `own` fields may be refused; `rope_theta` is theirs, or else that of `fields`."""
    return Positions(*told(lambda: _rope(Fields(own(), f"{fields.where}: {where}"), fields, head_dim), Rope()))


def _rope(group: Fields, outside: Fields, head_dim: int) -> Rope:
    group.refuse_others(_KEYS)
    key = "rope_type" if group.values.get("rope_type") else "type"
    group.require(key, *_READERS)
    kind = group.get(key, str, "default")
    if kind != PROPORTIONAL:
        group.require("partial_rotary_factor", 1)
    theta = (outside if group.values.get("rope_theta") is None else group).above_0("rope_theta")
    context = _Context(outside.within("max_position_embeddings", 1, MOST_WHOLE, kind=int), head_dim)
    return computed(Rope(theta, _READERS[kind](group, context)), head_dim, group.where)


def computed(rope: Rope, head_dim: int, where: str) -> Rope:
    """The positions.  Raises `ValueError` where float32 does not hold their angles, at some length.

    A head size that no model has passes: it is refused as such.
    """
    if head_dim % 2 or not 2 <= head_dim <= MOST_OF_HEADS:
        return rope

    def numbers() -> list[tuple[float, ...]]:
        found = [rope.at_length(tokens) for tokens in (1, MOST_WHOLE)]
        return [(*one.frequencies(head_dim), one.attention_factor) for one in found]

    try:
        with np.errstate(all="ignore"):
            fits = bool((np.abs(naming(where, numbers)) <= _MOST_ANGLE).all())
    except ArithmeticError:  # of powers that Python takes itself
        fits = False
    if not fits:
        raise ValueError(f"{where}: base {rope.theta} and scaling give angles that float32 does not hold")
    return rope


def _linear(group: Fields, _: _Context) -> Scaling:
    return Linear(group.above_0("factor"))


def _proportional(group: Fields, context: _Context) -> Scaling:
    share = group.within("partial_rotary_factor", 0, 1, 1.0)
    return Proportional(int(share * context.head_dim // 2), group.above_0("factor", 1.0))


def _dynamic(group: Fields, context: _Context) -> Scaling:
    return Dynamic(group.above_0("factor"), context.max_positions)


def _original(group: Fields, context: _Context) -> int:
    return int(group.within(ORIGINAL, 1, MOST_WHOLE, float(context.max_positions)))


def _factor(group: Fields, context: _Context) -> float:
    return group.above_0("factor", context.max_positions / _original(group, context))


def _usual_at_0(group: Fields, key: str, usual: float) -> float:
    """The number of `key`; absent or 0, as transformers has it, the usual one."""
    return group.above_0(key) if group.get(key, float, 0.0) else usual


def _yarn(group: Fields, context: _Context) -> Scaling:
    factor = _factor(group, context)
    scales = [_usual_at_0(group, key, 0.0) for key in ("mscale", "mscale_all_dim")]
    own = yarn_attention(factor)
    if all(scales):
        own = yarn_attention(factor, scales[0]) / yarn_attention(factor, scales[1])
    return Yarn(
        factor, _original(group, context), group.above_0("attention_factor", own),
        fast=_usual_at_0(group, "beta_fast", 32.0), slow=_usual_at_0(group, "beta_slow", 1.0),
        truncate=group.get("truncate", bool, True),
    )  # fmt: skip


def _longrope(group: Fields, context: _Context) -> Scaling:
    original = _original(group, context)
    short, long = (
        factors(group.get(key, list), context.head_dim // 2, f"{group.where}: {key}")
        for key in ("short_factor", "long_factor")
    )
    if group.values.get("attention_factor") is not None:
        own = group.above_0("attention_factor")
    else:
        own = naming(group.where, lambda: longrope_attention(_factor(group, context), original))
    return Divided(short, own) if short == long else LongRope(short, long, original, own)


def factors(found: Sequence[Any], count: int, name: str) -> tuple[float, ...]:
    """The `count` numbers, each above 0, that divide the frequencies one by one; `name` is theirs, for messages."""
    numbers = [float(one) for one in found if type(one) in (int, float) and LEAST_ABOVE_0 <= one <= _MOST_FACTOR]
    if not len(numbers) == len(found) == count:
        raise ValueError(f"{name} must hold {count} numbers above 0, got {len(found)} items, {len(numbers)} of them so")
    return tuple(numbers)


def _llama3(group: Fields, context: _Context) -> Scaling:
    low, high = (group.above_0(f"{name}_freq_factor") for name in ("low", "high"))
    if low >= high:
        raise ValueError(f"{group.where}: low_freq_factor {low} is not below high_freq_factor {high}")
    return Llama3(group.above_0("factor"), low, high, _original(group, context))


_READERS: Final[Mapping[str, Callable[[Fields, _Context], Scaling | None]]] = MappingProxyType({
    "default": lambda *_: None, "linear": _linear, "dynamic": _dynamic, "yarn": _yarn, "longrope": _longrope,
    "llama3": _llama3, PROPORTIONAL: _proportional,
})  # fmt: skip

_KEYS: Final = {
    "rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", ORIGINAL, "attention_factor", "beta_fast",
    "beta_slow", "mscale", "mscale_all_dim", "truncate", "short_factor", "long_factor", "low_freq_factor",
    "high_freq_factor",
}  # fmt: skip
"""Of all kinds: a kind leaves the others' alone, as transformers does."""
