"""Random weights: for tests, for timings, and as a start for training."""

from __future__ import annotations

import dataclasses
import math
import zlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from refmodel.packed.coding import Coding
from refmodel.packed.packed import Packed
from refmodel.specification import ModelConfig
from refmodel.tree import Leaf, model_leaves, nested


def random_params(config: ModelConfig, seed: int, dtype: Any, coding: Coding | None = None) -> Any:
    """Parameters of `config` in `dtype`: norms change nothing, every matrix is normal with variance 1 / fan-in.

    With a `coding` it is drawn packed, of that variance, and nothing of it is ever expanded.

    So each projection keeps the variance of what it reads.  The embedding's fan-in is D, which it has as a tied head:
    logits have variance 1, tied or not, and the first norm undoes the small scale of the embedded tokens.

    A leaf depends on `seed`, its path, its shape and `dtype`, on nothing else of the model.
    """
    key = jax.random.key(seed)
    return nested({path: random_leaf(path, leaf, dtype, key, coding) for path, leaf in model_leaves(config).items()})


def variant_params(config: ModelConfig, params: Any, seed: int) -> Any:
    """`params` with those that the variants of the layout have of their own (routers) and a checkpoint lacks.

    They are what `random_params` gives from `seed`, in the dtype of `params`; nothing that is there is touched.
    """
    blocks = {stack: dict(block) for stack, block in params["blocks"].items()}
    dtype = params["embed"]["embedding"].dtype
    for path, leaf in model_leaves(config).items():
        if not leaf.row.of_mixer:
            continue
        _, stack, *_, name = path.split(".")
        if name not in blocks[stack]["attn"]:
            drawn = random_leaf(path, leaf, dtype, jax.random.key(seed))
            blocks[stack]["attn"] = blocks[stack]["attn"] | {name: drawn}
    return {**params, "blocks": blocks}


def random_leaf(path: str, leaf: Leaf, dtype: Any, key: jax.Array, coding: Coding | None = None) -> Any:
    """The leaf at `path` that `random_params` draws."""
    if not leaf.row.sums:
        return jnp.full(leaf.shape, leaf.row.initial, dtype)
    key = jax.random.fold_in(key, zlib.crc32(path.encode()))
    if isinstance(packed := leaf.abstract(dtype, coding), Packed):
        return _packed(key, leaf.row.fan_in**-0.5, packed)
    return _normal(key, leaf.row.fan_in**-0.5, leaf.shape, dtype, stacked=leaf.layers is not None)


def _packed(key: jax.Array, std: float, packed: Packed) -> Packed:
    drawn = _drawn(key, packed.coding, packed.shape, std)
    parts = {name: drawn[name].reshape(part.shape) for name, part in packed.parts.items()}
    return dataclasses.replace(packed, parts=parts)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _drawn(key: jax.Array, coding: Coding, shape: tuple[int, ...], std: float) -> dict[str, jax.Array]:
    """Random parts; layer by layer and expert by expert where there are such."""
    *lead, rows, depth = shape
    draw = partial(coding.draw, shape=(rows, depth), std=std)
    return jax.lax.map(draw, jax.random.split(key, math.prod(lead))) if lead else draw(key)


@partial(jax.jit, static_argnames=("shape", "dtype", "stacked"))
def _normal(key: jax.Array, std: float, shape: tuple[int, ...], dtype: Any, stacked: bool) -> jax.Array:
    """Layer by layer where layers are stacked: the generator's working memory is several times what it makes."""

    def one(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return (std * jax.random.normal(key, shape)).astype(dtype)

    if not stacked:
        return one(key, shape)
    return jax.lax.map(lambda key: one(key, shape[1:]), jax.random.split(key, shape[0]))
