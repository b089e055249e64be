"""Random weights: for tests, for timings, and as a start for training."""

from __future__ import annotations

import math
import zlib
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp

from refmodel.config import ModelConfig
from refmodel.model import abstract_params
from refmodel.weights.fill import leaves_by_path

_FAN_IN_AXES: Final = {"embedding": (-1,), "q": (-3,), "k": (-3,), "v": (-3,), "o": (-3, -2)}
"""The axes that a matrix sums over; -2 for those not named."""


def random_params(config: ModelConfig, seed: int, dtype: Any) -> Any:
    """Parameters of `config` in `dtype`: norm scales are 1, every matrix is normal with variance 1 / fan-in.

    So each projection keeps the variance of what it reads.  The embedding's fan-in is D, which it has as a tied head:
    logits have variance 1, tied or not, and the first norm undoes the small scale of the embedded tokens.

    A leaf depends on `seed`, its path, its shape and `dtype`, on nothing else of the model.
    """
    tree = abstract_params(config, dtype)
    leaves = [_random_leaf(path, struct, jax.random.key(seed)) for path, struct in leaves_by_path(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def variant_params(config: ModelConfig, params: Any, seed: int) -> Any:
    """`params` with those that the variants of the layout have of their own (routers) and a checkpoint lacks.

    They are what `random_params` gives from `seed`, in the dtype of `params`; nothing that is there is touched.
    """
    blocks = {kind: dict(block) for kind, block in params["blocks"].items()}
    names = {name for variant in dict.fromkeys(config.layout) for name in variant.params(config.heads)}
    for path, struct in leaves_by_path(abstract_params(config, params["embed"]["embedding"].dtype)).items():
        name = path.rpartition(".")[2]
        if name in names and name not in blocks[kind := path.split(".")[1]]["attn"]:
            blocks[kind]["attn"] = blocks[kind]["attn"] | {name: _random_leaf(path, struct, jax.random.key(seed))}
    return {**params, "blocks": blocks}


def _random_leaf(path: str, struct: jax.ShapeDtypeStruct, key: jax.Array) -> jax.Array:
    name = path.rpartition(".")[2]
    if name == "scale":
        return jnp.ones(struct.shape, struct.dtype)
    std = math.prod(struct.shape[axis] for axis in _FAN_IN_AXES.get(name, (-2,))) ** -0.5
    key = jax.random.fold_in(key, zlib.crc32(path.encode()))
    return _normal(key, std, struct.shape, struct.dtype, stacked=path.startswith("blocks."))


@partial(jax.jit, static_argnames=("shape", "dtype", "stacked"))
def _normal(key: jax.Array, std: float, shape: tuple[int, ...], dtype: Any, stacked: bool) -> jax.Array:
    """Layer by layer where layers are stacked: the generator's working memory is several times what it makes."""

    def one(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return (std * jax.random.normal(key, shape)).astype(dtype)

    if not stacked:
        return one(key, shape)
    return jax.lax.map(lambda key: one(key, shape[1:]), jax.random.split(key, shape[0]))
