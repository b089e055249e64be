"""Rotary positions as config.json files spell them: `rope_scaling`, `rope_parameters`, fields of their own.

What the fields mean is what transformers (5.24) makes of them.  Positions that are not computed are told, not raised:
counting needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from refmodel.fields import Fields, told
from refmodel.parts import Rope
from refmodel.rope_scaling import (
    Dynamic,
    Linear,
    Llama3,
    LongRope,
    Scaling,
    Yarn,
    longrope_attention,
    yarn_attention,
)

ORIGINAL: Final = "original_max_position_embeddings"


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
    theta = fields.get("rope_theta", float)

    def read() -> Rope:
        fields.require("partial_rotary_factor", 1)
        values = fields.get(group, dict, {})
        original = fields.get(ORIGINAL, int, None)
        values = values if original is None else {**values, ORIGINAL: original}
        return _rope(Fields(values, f"{fields.where}: {group}"), theta, _context(fields, head_dim))

    return Positions(*told(read, Rope(theta)))


def positions_of(fields: Fields, values: Mapping[str, Any], where: str, head_dim: int) -> Positions:
    """Of one kind of layers, whose own fields are `values`, `rope_theta` among them."""
    group = Fields(values, f"{fields.where}: {where}")
    otherwise = Rope(group.get("rope_theta", float))
    return Positions(*told(lambda: _rope(group, otherwise.theta, _context(fields, head_dim)), otherwise))


def _context(fields: Fields, head_dim: int) -> _Context:
    return _Context(fields.get("max_position_embeddings", int), head_dim)


def _rope(group: Fields, theta: float, context: _Context) -> Rope:
    group.require("partial_rotary_factor", 1)
    group.refuse_others(_KEYS)
    key = "rope_type" if group.values.get("rope_type") else "type"
    group.require(key, *_READERS)
    read = _READERS[group.get(key, str, "default")]
    return Rope(group.get("rope_theta", float, theta), read(group, context))


def _linear(group: Fields, _: _Context) -> Scaling:
    return Linear(group.above_0("factor"))


def _dynamic(group: Fields, context: _Context) -> Scaling:
    return Dynamic(group.above_0("factor"), context.max_positions)


def _original(group: Fields, context: _Context) -> int:
    return int(group.above_0(ORIGINAL, float(context.max_positions)))


def _factor(group: Fields, context: _Context) -> float:
    return group.above_0("factor", context.max_positions / _original(group, context))


def _yarn(group: Fields, context: _Context) -> Scaling:
    factor = _factor(group, context)
    scales = [group.get(key, float, 0.0) for key in ("mscale", "mscale_all_dim")]
    own = yarn_attention(factor)
    if all(scales):
        own = yarn_attention(factor, scales[0]) / yarn_attention(factor, scales[1])
    return Yarn(
        factor, _original(group, context), group.get("attention_factor", float, own),
        fast=group.get("beta_fast", float, 32.0) or 32.0, slow=group.get("beta_slow", float, 1.0) or 1.0,
        truncate=group.get("truncate", bool, True),
    )  # fmt: skip


def _longrope(group: Fields, context: _Context) -> Scaling:
    original = _original(group, context)
    own = longrope_attention(_factor(group, context), original)
    short, long = (_factors(group, key, context.head_dim // 2) for key in ("short_factor", "long_factor"))
    return LongRope(short, long, original, group.get("attention_factor", float, own))


def _factors(group: Fields, key: str, count: int) -> tuple[float, ...]:
    found = group.get(key, list)
    if len(found) != count or not all(isinstance(one, int | float) and one > 0 for one in found):
        raise ValueError(f"{group.where}: {key} must hold {count} numbers above 0, got {len(found)} items")
    return tuple(map(float, found))


def _llama3(group: Fields, context: _Context) -> Scaling:
    low, high = (group.above_0(f"{name}_freq_factor") for name in ("low", "high"))
    if low >= high:
        raise ValueError(f"{group.where}: low_freq_factor {low} is not below high_freq_factor {high}")
    return Llama3(group.above_0("factor"), low, high, _original(group, context))


_READERS: Final[Mapping[str, Callable[[Fields, _Context], Scaling | None]]] = MappingProxyType({
    "default": lambda *_: None, "linear": _linear, "dynamic": _dynamic, "yarn": _yarn, "longrope": _longrope,
    "llama3": _llama3,
})  # fmt: skip

_KEYS: Final = {
    "rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", ORIGINAL, "attention_factor", "beta_fast",
    "beta_slow", "mscale", "mscale_all_dim", "truncate", "short_factor", "long_factor", "low_freq_factor",
    "high_freq_factor",
}  # fmt: skip
"""Of all kinds: a kind leaves the others' alone, as transformers does."""
