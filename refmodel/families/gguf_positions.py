"""Rotary positions as GGUF headers spell them, with what llama.cpp makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from refmodel.families.family import GgufHeader
from refmodel.families.positions import Positions, computed
from refmodel.fields import MOST_WHOLE, Fields, told
from refmodel.parts import Rope
from refmodel.rope_scaling import Divided, Linear, LongRope, Proportional, Scaling, Yarn, yarn_attention

FACTORS: Final = ("rope_freqs", "rope_factors_long", "rope_factors_short")
"""The tensors `NAME.weight` that divide the rotary frequencies; they are no parameters."""

_SCALING: Final = "rope.scaling"
_ENDLESS: Final = float(np.float32(1e30))
_BETAS: Final = (("fast", 32.0), ("slow", 1.0))
_LEFT_ALONE: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType({
    "alpha": (0, 1), "yarn_ext_factor": (1,), "yarn_attn_factor": (1,), "yarn_log_multiplier": (0,),
})  # fmt: skip
"""Keys that a few architectures use, and the values that change nothing."""


def positions(header: GgufHeader, head_dim: int, theta: float = 10_000.0) -> Positions:
    """Of the layers that see everything; `theta` is the architecture's own base."""

    def read() -> Rope:
        base = decimal(header.fields.above_0("rope.freq_base", theta))
        return computed(Rope(base, _scaling(header, head_dim)), head_dim, header.fields.where)

    return Positions(*told(read, Rope(theta)))


def decimal(single: float) -> float:
    """The shortest decimal that the file's float32 stands for: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(single)))


def _scaling(header: GgufHeader, head_dim: int) -> Scaling | None:
    own = header.fields
    own.require(f"{_SCALING}.type", "none", "linear", "yarn", "longrope")
    for key, accepted in _LEFT_ALONE.items():
        own.require(f"{_SCALING}.{key}", *accepted)
    kind = own.get(f"{_SCALING}.type", str, "linear")  # a factor without a type means linear scaling
    factor = 1.0 if kind == "none" else _factor(own)
    context = own.within("context_length", 1, MOST_WHOLE, kind=int)
    original = own.within(f"{_SCALING}.original_context_length", 1, MOST_WHOLE, context, int)
    attention = decimal(own.above_0(f"{_SCALING}.attn_factor", 1.0))
    divided = _divided(header, head_dim // 2, original, attention)
    if divided and (factor != 1 or kind == "yarn"):
        raise ValueError(f"{own.where}: {_SCALING}.type is {kind!r} beside factors of each frequency")
    if kind == "yarn":
        fast, slow = (own.above_0(f"{_SCALING}.yarn_beta_{end}", usual) for end, usual in _BETAS)
        return Yarn(factor, original, attention * yarn_attention(factor), fast, slow)
    if kind == "longrope" and not divided:
        raise ValueError(f"{own.where}: {_SCALING}.type is 'longrope' and {FACTORS[1]}.weight is missing")
    return divided or (None if factor == attention == 1 else Linear(factor, attention))


def _proportional(factors: tuple[float, ...]) -> Scaling | None:
    """Gemma 4's factors, 1 or so large that nothing turns, as what they stand for; None for others."""
    turning = factors.count(1)
    return Proportional(turning) if factors == (1.0,) * turning + (_ENDLESS,) * (len(factors) - turning) else None


def _factor(own: Fields) -> float:
    """An absent one, and 0, stand for 1; older files have a key of their own."""
    key = f"{_SCALING}.factor"
    key = key if own.values.get(key) is not None else "rope.scale_linear"
    return decimal(own.above_0(key)) if own.get(key, float, 0.0) else 1.0


def _divided(header: GgufHeader, count: int, original: int, attention: float) -> Scaling | None:
    """By the file's own factors: one for each frequency (Llama 3's), or two, for short and long sequences."""
    one, long, short = (header.rope_factors(name, count) for name in FACTORS)
    if one and any(factor != 1 for factor in one):
        return (_proportional(one) if attention == 1 else None) or Divided(one, attention)
    if (long is None) != (short is None):
        raise ValueError(f"{header.fields.where}: holds one of {FACTORS[1]}.weight and {FACTORS[2]}.weight")
    return LongRope(short, long, original, attention) if short and long else None
