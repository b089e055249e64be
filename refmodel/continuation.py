"""What a model that is at hand says after a prompt: at once, or as it comes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import jax
import jax.numpy as jnp

from attention.checks import described, of_kind, token_count, whole
from refmodel.generate import decode, joined
from refmodel.model import Params
from refmodel.sampling import Sampling, sampling
from refmodel.specification import ModelConfig
from refmodel.token_ids import Ids, continuation, rows_of_ids, text_ids
from refmodel.tokenizer.chat import ChatTemplate
from refmodel.tokenizer.library import refusals
from refmodel.tokenizer.running_text import text_pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer


Stop = str | int | Collection[str | int] | None
"""Tokens that end a text, by id or as a text that is one token; None for those of the model's files, () for none."""


class Continues:
    """Base of `refmodel.Model`: what it can do with a prompt once it has what stands below."""

    config: ModelConfig
    params: Params
    tokenizer: Tokenizer | None
    weights: str
    end_tokens: tuple[int, ...]
    no_tokenizer: str
    chat_template: ChatTemplate | None
    no_template: str

    def encode(self, text: str, *, chat: bool = False) -> jax.Array:
        """Token ids of a text, int32 [1, T], as transformers and llama.cpp give them: with a first token (BOS) where
        the tokenizer asks for one.

        With `chat`, of a user's turn that says the text and where the answer begins, by the model's own chat template
        (which needs jinja2, the extra `chat`).

        Raises `ValueError` where the model has no tokenizer or no template, and for a token that its embedding does not
        have.
        """
        of_kind("a text to encode", text, str)
        tokenizer = self._tokenizer()
        if chat:
            if self.chat_template is None:
                raise ValueError(self.no_template or f"{self.config.name} has no chat template: leave chat out")
            text = self.chat_template.around(text)
        ids = text_ids(tokenizer, text, self.config.vocab_size, self.config.name, edges=not chat)
        return jnp.asarray(ids, jnp.int32)[None]

    def decode(self, ids: Ids) -> str:
        """The text of ids [T] or [1, T], in which special tokens are left out.

        Raises `ValueError` where the model has no tokenizer, for several rows and for what is no id of the vocabulary.
        """
        tokenizer, ids_bt = self._tokenizer(), rows_of_ids(ids, self.config.vocab_size)
        if len(ids_bt) != 1:
            raise ValueError(f"decode takes the ids of one text, [T] or [1, T], got {described(ids_bt)}")
        return tokenizer.decode(ids_bt[0].tolist())

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            said = f"{self.config.name} with {self.weights} weights has no tokenizer: give token ids"
            raise ValueError(self.no_tokenizer or said)
        return self.tokenizer

    @overload
    def generate(
        self, prompt: str, new_tokens: int | str = ..., *, temperature: float = ..., top_k: int | None = ...,
        top_p: float | None = ..., stop: Stop = ..., seed: int = ..., chat: bool = ...,
    ) -> str: ...  # fmt: skip

    @overload
    def generate(
        self, prompt: Ids, new_tokens: int | str = ..., *, temperature: float = ..., top_k: int | None = ...,
        top_p: float | None = ..., stop: Stop = ..., seed: int = ...,
    ) -> jax.Array: ...  # fmt: skip

    def generate(
        self, prompt: str | Ids, new_tokens: int | str = 64, *, temperature: float = 0.0, top_k: int | None = None,
        top_p: float | None = None, stop: Stop = None, seed: int = 0, chat: bool = False,
    ) -> str | jax.Array:  # fmt: skip
        """What the model says after a prompt: text after a text, ids [B, new_tokens] after ids [B, T] or [T].

        Args:
            new_tokens: at most so many.
            temperature: 0 takes the best token, and others draw from softmax(logits / temperature).
            top_k, top_p: draw from the k likeliest tokens alone; from the fewest that are as likely as p together.
            stop: tokens that end it, by id or as text (default: those that the model's files name; `()`: none).  A text
                ends before them; a row of ids that has one repeats it to the end.
            seed: decides what is drawn, whether it is streamed or not.
            chat: `prompt` is what a user says, and goes into the model's chat template.

        Raises:
            ValueError: in one line, a prompt without tokens, ids that the vocabulary does not have, a text without a
                tokenizer, numbers out of bounds, or more tokens than the free memory has room for.

        Examples:
            >>> import refmodel
            >>> model = refmodel.load("tiny-dense")
            >>> model.generate([3, 1, 4], 5).shape
            (1, 5)
            >>> [int(token) for (token,) in model.stream([3, 1, 4], 5)] == model.generate([3, 1, 4], 5)[0].tolist()
            True
        """
        new_tokens = token_count("new_tokens", new_tokens)
        begun = self._begun(prompt, new_tokens, sampling(temperature, top_k, top_p), stop, seed, chat)
        if not isinstance(prompt, str):
            return joined(begun.lots, new_tokens)
        return continuation(self._tokenizer(), begun.ids_bt[0].tolist(), list(until_stop(begun.lots, begun.stops)))

    @overload
    def stream(
        self, prompt: str, new_tokens: int | str = ..., *, temperature: float = ..., top_k: int | None = ...,
        top_p: float | None = ..., stop: Stop = ..., seed: int = ..., chat: bool = ...,
    ) -> Iterator[str]: ...  # fmt: skip

    @overload
    def stream(
        self, prompt: Ids, new_tokens: int | str = ..., *, temperature: float = ..., top_k: int | None = ...,
        top_p: float | None = ..., stop: Stop = ..., seed: int = ...,
    ) -> Iterator[jax.Array]: ...  # fmt: skip

    def stream(
        self, prompt: str | Ids, new_tokens: int | str = 64, *, temperature: float = 0.0, top_k: int | None = None,
        top_p: float | None = None, stop: Stop = None, seed: int = 0, chat: bool = False,
    ) -> Iterator[str] | Iterator[jax.Array]:  # fmt: skip
        """`generate` as it comes: pieces of text, which never cut a character, or ids [B], a token of each row.

        It ends where all rows have stopped, and computes nothing that is not asked for.  What is wrong with the
        arguments is said at once.
        """
        new_tokens = token_count("new_tokens", new_tokens)
        begun = self._begun(prompt, new_tokens, sampling(temperature, top_k, top_p), stop, seed, chat, tokens_a_call=1)
        if not isinstance(prompt, str):
            return (lot_bs[:, 0] for lot_bs in begun.lots)
        return text_pieces(self._tokenizer(), begun.ids_bt[0].tolist(), until_stop(begun.lots, begun.stops))

    def _begun(
        self, prompt: str | Ids, new_tokens: int, how: Sampling, stop: Stop, seed: int, chat: bool,
        tokens_a_call: int | None = None,
    ) -> _Begun:  # fmt: skip
        if chat and not isinstance(prompt, str):
            raise ValueError("chat takes what a user says, a text; ids are as they are")
        vocab_size = self.config.vocab_size
        ids_bt = self.encode(prompt, chat=chat) if isinstance(prompt, str) else rows_of_ids(prompt, vocab_size)
        stops = self.end_tokens if stop is None else stop_tokens(self.tokenizer, stop)
        lots = decode(
            self.config, self.params, ids_bt, new_tokens, how, seed=seed, stop_tokens=stops, tokens_a_call=tokens_a_call
        )
        return _Begun(ids_bt, lots, stops)


class _Begun(NamedTuple):
    """A prompt, what follows in lots [B, count] as they are asked for, and what ends it."""

    ids_bt: jax.Array
    lots: Iterator[jax.Array]
    stops: tuple[int, ...]


def until_stop(lots: Iterable[jax.Array], stops: Collection[int]) -> Iterator[int]:
    """The ids of a single row in lots [1, count], up to the first of `stops`."""
    ids = (token for lot_bs in lots for token in lot_bs[0].tolist())
    return itertools.takewhile(lambda token: token not in stops, ids)


def stop_tokens(tokenizer: Tokenizer | None, stop: str | int | Collection[str | int]) -> tuple[int, ...]:
    """The ids of tokens that are told by id, by a text that is one token, or as the vocabulary spells one.

    Raises `ValueError` for a text that is none or several tokens, for any where there is no tokenizer, and for what is
    neither text nor id.
    """
    no_axes = getattr(stop, "ndim", 1) == 0  # such an array is a collection to Python
    if no_axes or isinstance(stop, str | bytes | bytearray) or not isinstance(stop, Collection):
        return (_stop_id(tokenizer, stop),)
    return tuple(_stop_id(tokenizer, one) for one in stop)


def _stop_id(tokenizer: Tokenizer | None, stop: Any) -> int:
    if not isinstance(stop, str):
        return whole("stop", stop, 0)
    if tokenizer is None:
        raise ValueError(f"a stop is a token's id where a model has no tokenizer, got {stop!r}")
    with refusals(f"its tokenizer cannot read the stop {stop!r}"):
        ids = tokenizer.encode(stop, add_special_tokens=False).ids
    if len(ids) == 1 and tokenizer.decode(ids, skip_special_tokens=False) == stop:
        return ids[0]
    if (number := tokenizer.token_to_id(stop)) is None:
        raise ValueError(f"no token {stop!r} in this vocabulary; accepted: none, or a token as the vocabulary has it")
    return number
