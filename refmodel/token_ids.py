"""Token ids where they enter: an id that the vocabulary does not have reads another row of the embedding in silence."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from attention.checks import described
from refmodel.tokenizer.library import refusals

if TYPE_CHECKING:
    from tokenizers import Tokenizer


Ids = jax.typing.ArrayLike | Sequence[int] | Sequence[Sequence[int]]
"""Token ids of a prompt, [T], or of several of one length, [B, T]."""


def as_ids(tokens: Ids) -> jax.Array | np.ndarray:
    """Raises `ValueError` for what is no array of ids, [B, T] or [T]."""
    try:
        ids = tokens if isinstance(tokens, jax.Array) else np.asarray(tokens)
    except (TypeError, ValueError) as error:
        raise ValueError(f"tokens must be ids, [B, T] or [T], got {reprlib.repr(tokens)}") from error
    if ids.dtype.kind == "U":
        raise ValueError(f"tokens must be ids, which model.encode makes of a text, got {reprlib.repr(tokens)}")
    if not ids.size:
        raise ValueError("tokens must be ids, [B, T] or [T], got none")
    if ids.ndim not in (1, 2) or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"tokens must be ids, [B, T] or [T], got {described(ids)}")
    return ids


def rows_of_ids(tokens: Ids, vocab_size: int) -> jax.Array:
    """Ids [B, T], of a single row where it is [T], looked at before JAX cuts them to 32 bits.

    Raises `ValueError` as `as_ids` and `check_token_ids`.
    """
    ids = as_ids(tokens)
    check_token_ids(ids, vocab_size)
    return jnp.atleast_2d(ids)


def check_token_ids(ids: Any, vocab_size: int) -> None:
    """Raises `ValueError` for an id outside 0 to `vocab_size` - 1; what is being traced has no numbers to look at."""
    if isinstance(ids, jax.core.Tracer):
        return
    found = np.asarray(ids)
    outside = found[(found < 0) | (found >= vocab_size)]
    if outside.size:
        raise ValueError(f"token id {outside[0]} is not in the vocabulary; accepted: 0 to {vocab_size - 1}")


def in_vocabulary(ids: Sequence[int], vocab_size: int) -> tuple[int, ...]:
    """Those that the vocabulary has."""
    return tuple(number for number in ids if 0 <= number < vocab_size)


def ends_outside(ids: Sequence[int], vocab_size: int) -> list[str]:
    """What is to be said of end tokens that the vocabulary does not have, and that so end no text."""
    outside = [str(number) for number in ids if not 0 <= number < vocab_size]
    return [f"left out: end token {', '.join(outside)}, for the vocabulary is 0 to {vocab_size - 1}"] if outside else []


def text_ids(tokenizer: Tokenizer, text: str, vocab_size: int, where: str, *, edges: bool = True) -> list[int]:
    """The ids of a text, with the first and last token that the tokenizer puts around it, or without these `edges`.

    Raises `ValueError` for a token that the tokenizer has beyond the embedding's `vocab_size` rows, and for a text that
    it cannot read, naming the model `where` it is from.
    """
    with refusals(f"{where}: its tokenizer cannot read this text"):
        ids: list[int] = tokenizer.encode(text, add_special_tokens=edges).ids
    if beyond := next((number for number in ids if number >= vocab_size), None):
        token = tokenizer.id_to_token(beyond)
        raise ValueError(f"{where}: its tokenizer has {token!r} as {beyond}, beyond the embedding's {vocab_size} rows")
    return ids


def continuation(tokenizer: Tokenizer, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
    """The text of `new_ids` after a prompt; alone they may read otherwise: sentencepiece drops a first space."""
    prompt, whole = tokenizer.decode(list(prompt_ids)), tokenizer.decode([*prompt_ids, *new_ids])
    return whole.removeprefix(prompt) if whole.startswith(prompt) else tokenizer.decode(list(new_ids))
