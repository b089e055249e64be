"""Associative recall: which value stood behind this key, and how far back may it have stood?

A text is pairs of a key and its value among filler, and at its end half of the keys again, each with its value:

    . k3 v7 . . k1 v2 . . . k9 v4 . k5 v8 .   k9 v4 k3 v7        4 pairs; asked for k9 and k3

Multi-query associative recall (Arora et al., 2312.04927), with the pairs spread over the text, so that one text asks
over many distances; and not every key is asked for, or the last ones could be told from what is left.  It shows what an
attention can reach in a model that was trained on it, under that attention; a pretrained model need not know what is
asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float32, Int

from attention.checks import MOST_SEED, whole
from refmodel.cache import init_cache
from refmodel.model import Params, hidden_states, unembed
from refmodel.specification import ModelConfig

FILLER: Final = 16
KEYS: Final = 128
VALUES: Final = 64
VOCABULARY: Final = FILLER + KEYS + VALUES
"""Ids of filler come first, then those of keys, then those of values."""

LEAST_TOKENS: Final = 8
MOST_TOKENS: Final = LEAST_TOKENS * KEYS
"""A text has a pair for each `LEAST_TOKENS` tokens, and a question for each second pair, at least one."""

FIRST_TOKENS: Final = 32
"""Of the texts that training begins with."""


class Recall(NamedTuple):
    """Texts, and where what they ask for stands.

    Attributes:
        tokens_bt: ids.
        key_bp: the place of the key that is asked for p-th; its value is the next token.
    """

    tokens_bt: Int[np.ndarray, "b t"]
    key_bp: Int[np.ndarray, "b p"]

    @property
    def distance_bp(self) -> Int[np.ndarray, "b p"]:
        """Tokens from the value to the key that asks for it."""
        return first_asked(self.tokens_bt.shape[1]) + 2 * np.arange(self.key_bp.shape[1]) - (self.key_bp + 1)


def first_asked(tokens: int) -> int:
    """Where the first question stands in a text; keys and values take turns from there to its end."""
    return tokens - 2 * max(1, tokens // LEAST_TOKENS // 2)


def draw_recall(*, batch: int, tokens: int, seed: int | Sequence[int]) -> Recall:
    """Texts whose keys (each once), values, places and order of questions are drawn from `seed`.

    Raises `ValueError` for texts of fewer than 8 tokens, or of more than have a key for each 8.

    Examples:
        >>> asked = draw_recall(batch=1, tokens=16, seed=3)
        >>> text = asked.tokens_bt[0].tolist()
        >>> [text[place + 1] for place in asked.key_bp[0]] == text[15::2]
        True
    """
    whole("batch", batch, 1)
    whole("tokens", tokens, LEAST_TOKENS, MOST_TOKENS)
    draw, pairs = np.random.default_rng(seed), tokens // LEAST_TOKENS
    tokens_bt = draw.integers(FILLER, size=(batch, tokens))
    keys_bp = draw.permuted(np.tile(np.arange(KEYS), (batch, 1)), axis=1)[:, :pairs] + FILLER
    values_bp = draw.integers(VALUES, size=(batch, pairs)) + FILLER + KEYS
    room = first_asked(tokens) - pairs  # a pair as one token; then each is moved on by those before it
    drawn_bp = draw.permuted(np.tile(np.arange(room), (batch, 1)), axis=1)[:, :pairs]
    key_bp = np.sort(drawn_bp, axis=1) + np.arange(pairs)
    rows_b1 = np.arange(batch)[:, None]
    tokens_bt[rows_b1, key_bp], tokens_bt[rows_b1, key_bp + 1] = keys_bp, values_bp
    asked = first_asked(tokens)
    which_bp = draw.permuted(np.tile(np.arange(pairs), (batch, 1)), axis=1)[:, : (tokens - asked) // 2]
    tokens_bt[:, asked::2], tokens_bt[:, asked + 1 :: 2] = keys_bp[rows_b1, which_bp], values_bp[rows_b1, which_bp]
    return Recall(tokens_bt, key_bp[rows_b1, which_bp])


def recall_batches(*, tokens: int, batch_tokens: int, steps: int, seed: int) -> Iterator[Int[np.ndarray, "b t"]]:
    """Texts to train on: three fifths of the steps of 32 tokens, then also of twice as many and so on, up to `tokens`.

    For thousands of steps a model knows no more than which values there are, and then, at once, which belongs to which
    key; of short texts it learns that soonest.  All lengths so far come in turn, for of the longest alone it forgets
    the others.  Every batch has `batch_tokens`, or is one text.
    """
    whole("tokens", tokens, LEAST_TOKENS, MOST_TOKENS)
    whole("steps", steps, 1)
    whole("seed", seed, 0, MOST_SEED)
    lengths = text_lengths(tokens)
    for step in range(steps):
        late = max(0, 5 * step - 3 * steps)  # of twice as many steps, from three fifths of them on
        longest = 1 + late * (len(lengths) - 1) // (2 * steps) if late and len(lengths) > 1 else 0
        length = lengths[step % (longest + 1)]
        yield draw_recall(batch=max(1, batch_tokens // length), tokens=length, seed=(seed, step)).tokens_bt


def text_lengths(tokens: int) -> list[int]:
    """32 and its doubles below `tokens`, and `tokens`: of these texts are trained on and asked."""
    return [length for length in (FIRST_TOKENS << i for i in range(MOST_TOKENS.bit_length())) if length < tokens] + [
        tokens
    ]


def recall_loss(config: ModelConfig, params: Params, tokens_bt: Int[Array, "b t"]) -> Float32[Array, ""]:
    """Mean cross entropy of the values that are asked for, in nats: a loss for `refmodel.train.train_step`."""
    logits_bpv = _asked_logits(config, params, tokens_bt)
    values_bp = tokens_bt[:, first_asked(tokens_bt.shape[1]) + 1 :: 2]
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits_bpv, values_bp).mean()


@partial(jax.jit, static_argnums=0)
def is_recalled(config: ModelConfig, params: Params, tokens_bt: Int[Array, "b t"]) -> Bool[Array, "b p"]:
    """Whether the likeliest next token of each question is the value that stood behind its key."""
    return _asked_logits(config, params, tokens_bt).argmax(-1) == tokens_bt[:, first_asked(tokens_bt.shape[1]) + 1 :: 2]


def _asked_logits(config: ModelConfig, params: Params, tokens_bt: jax.Array) -> jax.Array:
    batch, tokens = tokens_bt.shape
    config = config.at_length(tokens)
    cache = init_cache(config, batch, tokens, params["embed"]["embedding"].dtype)
    final_btd = hidden_states(config, params, cache, tokens_bt, first=True).final_btd
    return unembed(config, params, final_btd[:, first_asked(tokens) :: 2])


@dataclass(frozen=True)
class Recalled:
    """What came back of texts of one length.

    Attributes:
        tokens: their length.
        asked: questions by how deep their pair stands in the text, in equal stretches of it, the first tokens first.
        right: those that were answered rightly.
    """

    tokens: int
    asked: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def share(self) -> float:
        """Of all questions, those answered rightly; `1 / VALUES` is chance."""
        return sum(self.right) / sum(self.asked)


def recalled(
    config: ModelConfig, params: Params, *, tokens: int, texts: int, stretches: int = 8, seed: int = 0
) -> Recalled:
    """Asks a model that was trained for it, greedily, all of a text's questions in one pass.

    Raises `ValueError` as `draw_recall` does.
    """
    whole("stretches", stretches, 1, tokens)
    drawn = draw_recall(batch=texts, tokens=tokens, seed=(seed, tokens))
    right_bp = np.asarray(is_recalled(config, params, jnp.asarray(drawn.tokens_bt)))
    stretch_bp = drawn.key_bp * stretches // (first_asked(tokens) - 1)
    counted = [np.bincount(one, minlength=stretches) for one in (stretch_bp.ravel(), stretch_bp[right_bp])]
    asked, right = (tuple(one.tolist()) for one in counted)
    return Recalled(tokens, asked, right)
