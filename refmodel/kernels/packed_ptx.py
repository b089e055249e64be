"""Weights of packed levels by NVIDIA's own instructions, for tiles of matrix units and for sums of single rows.

Tiles take those for pairs of bfloat16 (sm_90 and later), 2 instructions a weight.  Compilers make 8 of the same
elementwise lines, one number at a time, and then a product waits for its weights.  A level goes into the mantissa of a
number whose unit it is: 0x4300 | n is 128 + n.  What it stands for is exact then, and so is the rounding of its product
with a scale of bfloat16: the weights are bit for bit those of `Coding.decode`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.experimental.pallas import triton as plgpu

from attention.kernels.target import current_target, is_nvidia
from refmodel.packed.coding import Coding
from refmodel.packed.scaled import Float8, Scaled

Decode = Callable[[jax.Array, list[jax.Array]], list[jax.Array]]
"""Of bytes [rows, n], and a scale [rows, n] for each tile of weights that they hold: two of nibbles, else one."""

_APART: Final = "prmt.b32 a, $2, 0, 0x4140; prmt.b32 b, $2, 0, 0x4342;"
"""Four bytes in the low halves of the 16-bit lanes of a and b."""
_UPPER: Final = "shr.b32 a, a, 4; shr.b32 b, b, 4;"
_NIBBLES: Final = """
    lop3.b32 a, a, 0x000f000f, 0x43004300, 0xea; lop3.b32 b, b, 0x000f000f, 0x43004300, 0xea;
    mov.b32 c, {zero}; sub.rn.bf16x2 a, a, c; sub.rn.bf16x2 b, b, c;"""
"""(128 + n) - `zero`."""
_WHOLE: Final = """
    lop3.b32 c, a, 0x00800080, 0x43004300, 0xea; lop3.b32 d, b, 0x00800080, 0x43004300, 0xea;
    lop3.b32 a, a, 0x007f007f, 0x43004300, 0xea; lop3.b32 b, b, 0x007f007f, 0x43004300, 0xea;
    sub.rn.bf16x2 a, a, c; sub.rn.bf16x2 b, b, d;"""
"""128 and the seven low bits of a signed byte, less 256 where it is negative and else 128."""
_E4M3: Final = """
    prmt.b32 a, $2, 0, 0x1404; prmt.b32 b, $2, 0, 0x3424; shr.b32 c, a, 4; shr.b32 d, b, 4;
    and.b32 c, c, 0x07f007f0; and.b32 d, d, 0x07f007f0;
    lop3.b32 a, a, 0x80008000, c, 0xea; lop3.b32 b, b, 0x80008000, d, 0xea;
    mov.b32 c, 0x7b807b80; mul.rn.bf16x2 a, a, c; mul.rn.bf16x2 b, b, c;"""
"""Exponent and mantissa where bfloat16 has them, times 2^120 for the exponents' biases of 127 and 7."""


def ptx_decode(coding: Coding, dtype: Any) -> Decode | None:
    """For the target that is compiled for; None where the instructions are not there or the coding is not one of them.

    Those are of whole numbers of 4 or 8 bits and of e4m3, with scales of bfloat16.
    """
    target = current_target()
    new_enough = is_nvidia(target) and int(target.removeprefix("sm_")) >= 90
    if not new_enough or dtype != jnp.bfloat16 or getattr(coding, "scale_dtype", None) != jnp.bfloat16:
        return None
    match coding:
        case Scaled(bits=4, least=least):
            nibbles = _NIBBLES.replace("{zero}", hex((0x4300 - least) * 0x10001))  # 128 - least, twice
            return partial(_decode, (_APART + nibbles, _APART + _UPPER + nibbles))
        case Scaled(bits=8):
            return partial(_decode, (_APART + _WHOLE,))
        case Float8():
            return partial(_decode, (_E4M3,))
    return None


def _decode(lines: tuple[str, ...], levels: jax.Array, scales: list[jax.Array]) -> list[jax.Array]:
    """By the lines of each tile, which leave four numbers in a and b; Pallas lowers one result of an assembly."""
    out = [jax.ShapeDtypeStruct(levels.shape, jnp.bfloat16)]
    scaled = "mul.rn.bf16x2 $0, a, $3; mul.rn.bf16x2 $1, b, $4;"

    def one(numbers: str, scale: jax.Array) -> jax.Array:
        asm = f"{{ .reg .b32 a, b, c, d; {numbers} {scaled} }}"
        operands = [levels, scale]
        [weight] = plgpu.elementwise_inline_asm(
            asm, args=operands, constraints="=r,=r,r,r,r", pack=4, result_shape_dtypes=out
        )
        return weight

    return list(map(one, lines, scales))


def ptx_dots(held: jax.Array, x: list[jax.Array], bits: int) -> list[tuple[int, jax.Array]] | None:
    """A base, and float32 sum((base + level) · x) over the last axis of bytes [..., 32] by each x that they meet.

    Two x for the low and the high halves of bytes, or one for whole signed ones, whose level begins at -128.  One shift
    brings both halves of a byte into a mantissa.  Four lanes of a thread, which has 16 neighbours, are summed by fused
    multiply-adds, for the compiler makes none where lanes are summed; three of the four are -0 then.  None where the
    target is not NVIDIA's.
    """
    if not is_nvidia(current_target()):
        return None
    joined = [(256, "0x00078000, 0x43800000, 0xea"), (16, "0x00780000, 0x41800000, 0xea")]
    if bits == 8:
        joined = [(256, "0x007f8000, 0x43c00000, 0x6a")]  # (a & b) ^ c turns the sign over

    def dot(join: str, x: jax.Array) -> jax.Array:
        first, *others = (f"{shift}; lop3.b32 t, t, {join};" for shift in _TO_MANTISSA)
        lines = [f"{first} mul.rn.f32 $0, t, $5;"]
        for i, line in enumerate(others, 1):
            lines.append(f"{line} fma.rn.f32 $0, t, ${5 + i}, $0; mov.b32 ${i}, 0x80000000;")
        out = [jax.ShapeDtypeStruct(held.shape, jnp.float32)]
        [of_four] = plgpu.elementwise_inline_asm(
            f"{{ .reg .b32 t; {' '.join(lines)} }}", args=[held, jnp.broadcast_to(x, held.shape)],
            constraints="=f,=f,=f,=f,r,f,f,f,f", pack=4, result_shape_dtypes=out,
        )  # fmt: skip
        return of_four.sum(-1)

    return [(base, dot(join, x)) for (base, join), x in zip(joined, x, strict=True)]


_TO_MANTISSA: Final = ("shl.b32 t, $4, 15", "shl.b32 t, $4, 7", "shr.b32 t, $4, 1", "shr.b32 t, $4, 9")
"""The lowest bit of each of four bytes to bit 15."""
