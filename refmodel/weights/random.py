"""Random weights: for tests, for timings, and as a start for training."""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from refmodel.specification import ModelConfig
from refmodel.tree import Leaf, abstract_params, leaves_by_path, model_leaves


def random_params(config: ModelConfig, seed: int, dtype: Any) -> Any:
    """Parameters of `config` in `dtype`: norms change nothing, every matrix is normal with variance 1 / fan-in.

    So each projection keeps the variance of what it reads.  The embedding's fan-in is D, which it has as a tied head:
    logits have variance 1, tied or not, and the first norm undoes the small scale of the embedded tokens.

    A leaf depends on `seed`, its path, its shape and `dtype`, on nothing else of the model.
    """
    tree, leaves = abstract_params(config, dtype), model_leaves(config)
    drawn = [
        random_leaf(path, leaves[path], struct.dtype, jax.random.key(seed))
        for path, struct in leaves_by_path(tree).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(tree), drawn)


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


def random_leaf(path: str, leaf: Leaf, dtype: Any, key: jax.Array) -> jax.Array:
    """The leaf at `path` that `random_params` draws."""
    if not leaf.row.sums:
        return jnp.full(leaf.shape, leaf.row.initial, dtype)
    key = jax.random.fold_in(key, zlib.crc32(path.encode()))
    return _normal(key, leaf.row.fan_in**-0.5, leaf.shape, dtype, stacked=leaf.layers is not None)


@partial(jax.jit, static_argnames=("shape", "dtype", "stacked"))
def _normal(key: jax.Array, std: float, shape: tuple[int, ...], dtype: Any, stacked: bool) -> jax.Array:
    """Layer by layer where layers are stacked: the generator's working memory is several times what it makes."""

    def one(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return (std * jax.random.normal(key, shape)).astype(dtype)

    if not stacked:
        return one(key, shape)
    return jax.lax.map(lambda key: one(key, shape[1:]), jax.random.split(key, shape[0]))
