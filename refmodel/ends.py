"""Before the first layer and behind the last: the embedding, and the head that makes logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from attention.checks import of_kind, of_whole_numbers
from refmodel.packed.packed import Packed
from refmodel.packed_head import packed_logits
from refmodel.specification import ModelConfig, check_config
from refmodel.token_ids import check_token_ids
from refmodel.tree import Params, check_params


def embed(config: ModelConfig, params: Params, tokens: Int[Array, "*rows"]) -> Float[Array, "*rows d"]:
    """What the first layer reads: embedded tokens [..., D], times a scale that is rounded to their precision.

    Raises `ValueError` for ids that the vocabulary does not have, outside of jit.
    """
    check_config(config)
    check_params(params)
    of_kind("tokens: an array of ids", tokens, jax.Array | np.ndarray)
    of_whole_numbers("tokens", tokens)
    check_token_ids(tokens, config.vocab_size)
    return embedded(config, params, tokens)


def embedded(config: ModelConfig, params: Params, tokens: Int[Array, "*rows"]) -> Float[Array, "*rows d"]:
    """The same without a look at the ids, of which those at padding may be anything."""
    embedding = params["embed"]["embedding"]
    x = embedding.take(tokens) if isinstance(embedding, Packed) else embedding[tokens]
    return x if config.embedding_scale == 1 else x * jnp.asarray(config.embedding_scale, x.dtype)


@jax.named_scope("head")
def unembed(config: ModelConfig, params: Params, hidden: Float[Array, "*rows d"]) -> Float32[Array, "*rows v"]:
    """Logits [..., V] in float32 of final hidden states [..., D], softly capped where the model says so."""
    check_config(config)
    check_params(params)
    if config.tied_head:
        kernel, sums = params["embed"]["embedding"], "...d,vd->...v"
    else:
        kernel, sums = params["head"]["kernel"], "...d,dv->...v"
    if isinstance(kernel, Packed):
        logits = packed_logits(hidden, kernel)
    else:
        logits = jnp.einsum(sums, hidden, kernel, preferred_element_type=jnp.float32)
    return logits if (cap := config.logit_cap) is None else cap * jnp.tanh(logits / cap)
