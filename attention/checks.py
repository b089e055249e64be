"""What enters is looked at where it enters, outside of jit: kinds and ranges, in one line each."""

from __future__ import annotations

import operator
import reprlib
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from attention.shorthand import LONG_DTYPES, count_written

MOST_SEED: Final = 2**32 - 1


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """`value` as a number of things.  Raises `ValueError` where it is none, a truth value or out of bounds.

    Examples:
        >>> whole("tokens", np.int64(7))
        7
        >>> whole("tokens", 2.0)
        Traceback (most recent call last):
            ...
        ValueError: tokens must be a whole number of at least 1, got 2.0
    """
    try:
        found = least - 1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        found = least - 1
    if found < least or (most is not None and found > most):
        wanted = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        raise ValueError(f"{name} must be a whole number {wanted}, got {reprlib.repr(value)}")
    return found


def token_count(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """`value` as a number of tokens, which a text may write: "8k" is 8,192.  Raises `ValueError` as `whole`.

    Examples:
        >>> token_count("tokens", "8k"), token_count("tokens", 7)
        (8192, 7)
    """
    try:
        found = count_written(value) if isinstance(value, str) else value
    except ValueError:
        found = value
    return whole(name, found, least, most)


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of floats that is named, "bf16" too.  Raises `ValueError` for another one."""
    try:
        found = jnp.dtype(LONG_DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype or "none")  # None: float64
    except TypeError as error:
        raise ValueError(f"no dtype {dtype!r}; accepted: float32, bfloat16, float16") from error
    if not jnp.issubdtype(found, jnp.floating):
        raise ValueError(f"dtype must be one of floats, got {found}")
    return found


def of_kind(wanted: str, value: Any, kind: Any) -> None:
    """Raises `ValueError` for what is none of a `kind`, as `isinstance` takes it; `wanted` is that in words."""
    if not isinstance(value, kind):
        raise ValueError(f"{wanted} is wanted, got {reprlib.repr(value)}")


def has_axes(name: str, array: Any, axes: str) -> None:
    """Raises `ValueError` for what is no array with the axes that `axes` names: "[B or 1, T]" are two."""
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise ValueError(f"{name} must be an array {axes}, got {reprlib.repr(array)}")
    if len(array.shape) != axes.count(",") + 1:
        raise ValueError(f"{name} must be {axes}, got {described(array)}")


def of_floats(name: str, array: Any) -> None:
    """Raises `ValueError` for an array of anything else."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be of floats, got {array.dtype}")


def of_whole_numbers(name: str, array: Any) -> None:
    """Raises `ValueError` for an array of anything else, truth values too."""
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} must be whole numbers, got {array.dtype}")


def described(array: Any) -> str:
    """`float32[1, 3]`."""
    return f"{array.dtype}{list(array.shape)}"
