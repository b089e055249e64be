"""Decoding with the cache: greedy, or sampling at a temperature."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from refmodel.cache import Cache, init_cache
from refmodel.config import ModelConfig
from refmodel.model import Params, step


def generate(
    config: ModelConfig,
    params: Params,
    tokens_bt: jax.Array,
    new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop_token: int | None = None,
) -> jax.Array:
    """The prompt's continuation, [B, new_tokens].

    Greedy at temperature 0, otherwise drawn from softmax(logits / temperature).  A row that has produced
    `stop_token` repeats it to the end.

    Raises:
        ValueError: an empty prompt, no new tokens, or a negative temperature.
    """
    batch, prompt_tokens = tokens_bt.shape
    if prompt_tokens < 1 or new_tokens < 1 or temperature < 0:
        raise ValueError(
            "generate needs a prompt and new_tokens of at least 1 token and a temperature of at least 0, got "
            f"{prompt_tokens}, {new_tokens} and {temperature}"
        )
    config = config.at_length(prompt_tokens + new_tokens - 1)
    cache = init_cache(config, batch, prompt_tokens + new_tokens - 1, params["embed"]["embedding"].dtype)
    logits_bv, cache = _prefill(config, params, cache, tokens_bt)
    return _decode(
        config, new_tokens, stop_token, temperature == 0, params, cache, logits_bv, temperature, jax.random.key(seed)
    )


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _prefill(config: ModelConfig, params: Params, cache: Cache, tokens_bt: jax.Array) -> tuple[jax.Array, Cache]:
    return step(config, params, cache, tokens_bt, first=True)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _decode(config, new_tokens, stop_token, greedy, params, cache, logits_bv, temperature, key) -> jax.Array:
    def choose(logits_bv, key):
        if greedy:
            return logits_bv.argmax(-1).astype(jnp.int32)
        return jax.random.categorical(key, logits_bv / temperature).astype(jnp.int32)

    def one_token(carry, key):
        cache, token_b = carry
        logits_bv, cache = step(config, params, cache, token_b[:, None])
        next_b = choose(logits_bv, key)
        if stop_token is not None:
            next_b = jnp.where(token_b == stop_token, stop_token, next_b)
        return (cache, next_b), next_b

    keys = jax.random.split(key, new_tokens)
    first_b = choose(logits_bv, keys[0])
    _, later_sb = lax.scan(one_token, (cache, first_b), keys[1:])
    return jnp.concatenate([first_b[:, None], later_sb.T], axis=1)
