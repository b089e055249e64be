"""Whole numbers that add up on a device without a rounding: what runs for attention is more than 32 bits hold."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

DIGITS, BITS = 4, 16
MOST_AT_ONCE = 2**BITS
"""Numbers whose digits a uint32 still sums."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ExactCount:
    """A number below 2**64: uint32 [..., 4], each digit below 2**16, the least first.

    Leading axes (of a scan, of layers, of a vmap) hold one number each; `int` is the sum of all, on the host.

    Examples:
        >>> tiles = jnp.full((3, 5), 2**31 - 1, jnp.int32)
        >>> int(ExactCount.of(tiles) * 10**6)
        32212254705000000
    """

    digits: jax.Array

    @classmethod
    def of(cls, counts: jax.Array) -> ExactCount:
        """The sum of an array of counts, int32 or uint32 and none below 0."""
        counts_n = counts.reshape(-1).astype(jnp.uint32)
        rest = [jnp.zeros_like(counts_n)] * (DIGITS - 2)
        return cls(jnp.stack([counts_n % 2**BITS, counts_n >> BITS, *rest], axis=-1)).total()

    @classmethod
    def constant(cls, count: int) -> ExactCount:
        """A number that is known before anything runs."""
        return cls(jnp.asarray(np.array([_digit(count, place) for place in range(DIGITS)], np.uint32)))

    def total(self) -> ExactCount:
        """The sum over the leading axes."""
        digits = jnp.reshape(self.digits, (-1, DIGITS))
        while len(digits) > 1:
            missing = -len(digits) % min(len(digits), MOST_AT_ONCE)
            digits = jnp.pad(digits, ((0, missing), (0, 0)))
            parts = digits.reshape(-1, min(len(digits), MOST_AT_ONCE), DIGITS)
            digits = _carried(parts.sum(1, dtype=jnp.uint32))
        return ExactCount(digits[0])

    def __add__(self, other: ExactCount) -> ExactCount:
        return ExactCount(_carried(self.digits + other.digits))

    def __mul__(self, by: int) -> ExactCount:
        product = jnp.zeros_like(self.digits)
        for place in range(DIGITS):
            if digit := _digit(by, place):
                part = _carried(self.digits * jnp.uint32(digit))
                part = jnp.roll(part, place, axis=-1).at[..., :place].set(0)
                product = _carried(product + part)
        return ExactCount(product)

    def __int__(self) -> int:
        digits = np.asarray(self.digits).reshape(-1, DIGITS)
        return sum(int(digit) << BITS * place for row in digits for place, digit in enumerate(row))


def _digit(number: int, place: int) -> int:
    return number >> BITS * place & 2**BITS - 1


def _carried(digits: jax.Array) -> jax.Array:
    """The same number with each digit below 2**16; each may have been one sum or product of such digits."""
    carry, carried = jnp.zeros_like(digits[..., 0]), []
    for place in range(DIGITS):
        digit = digits[..., place] + carry
        carried.append(digit % 2**BITS)
        carry = digit >> BITS
    return jnp.stack(carried, axis=-1)
