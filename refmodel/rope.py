"""Rotary positions, half-split (Su et al., 2104.09864, in the arrangement of GPT-NeoX, Llama and Qwen)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from refmodel.parts import Rope

Angles = tuple[Float[Array, "#b t 1 half"], Float[Array, "#b t 1 half"]]
"""cos and sin, as `rope_angles` gives them."""


def rope_angles(positions_bt: Int[Array, "b t"], head_dim: int, rope: Rope) -> Angles:
    """cos and sin of position · frequency i for i < H/2, times the attention factor, each [B, T, 1, H/2], in float32;
    of the dimensions that are rotated, where those are fewer than H.

    float32 whatever the model's dtype: bfloat16 has 8 bits of mantissa and cannot tell positions past 256 apart.

    Raises `ValueError` for positions that depend on the length of the sequence, before `Rope.at_length`.
    """
    frequency_h = jnp.asarray(rope.frequencies(head_dim), jnp.float32)
    angles_bt1h = positions_bt.astype(jnp.float32)[..., None, None] * frequency_h
    cos, sin = jnp.cos(angles_bt1h), jnp.sin(angles_bt1h)
    factor = rope.attention_factor
    return (cos, sin) if factor == 1 else (factor * cos, factor * sin)


def apply_rope(x_btnh: Float[Array, "b t n h"], angles: Angles) -> Float[Array, "b t n h"]:
    """Rotates the pairs (i, i + H/2) of each head; keeps the dtype.

    Angles of fewer frequencies rotate as many first dimensions and leave the others as they are.
    """
    cos, sin = angles
    half = cos.shape[-1]
    x32 = x_btnh.astype(jnp.float32)
    first, second, rest = jnp.split(x32, (half, 2 * half), axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)
    return rotated.astype(x_btnh.dtype)


def turned(
    x_btnh: Float[Array, "b t n h"], positions_bt: Int[Array, "#b t"], angles_of: int, rope: Rope
) -> Float[Array, "b t n h"]:
    """Heads of any even size, turned by the angles of heads of the size `angles_of`: by as many as they have pairs."""
    cos, sin = rope_angles(positions_bt, angles_of, rope)
    pairs = x_btnh.shape[-1] // 2
    return apply_rope(x_btnh, (cos[..., :pairs], sin[..., :pairs]))
