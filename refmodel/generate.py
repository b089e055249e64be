"""Decoding with the cache: greedy, or sampling at a temperature."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from refmodel.cache import Cache, init_cache
from refmodel.model import Params, step
from refmodel.specification import ModelConfig

TOKENS_A_CALL = 16
"""Decoded by one program: between two of them a stop is seen, and so is an interrupt from the keyboard."""


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
    keys = jax.random.split(jax.random.key(seed), new_tokens)
    token_b = _choose(logits_bv, temperature, keys[0], greedy=temperature == 0)
    found = [token_b[:, None]]
    for start in range(1, new_tokens, TOKENS_A_CALL):
        if stop_token is not None and bool((token_b == stop_token).all()):
            break
        count = min(TOKENS_A_CALL, new_tokens - start)
        lot_keys = keys[jnp.minimum(start + jnp.arange(TOKENS_A_CALL), new_tokens - 1)]
        cache, token_b, later_bs = _decode(
            config, stop_token, temperature == 0, params, cache, token_b, temperature, lot_keys, count
        )
        found.append(later_bs[:, :count].block_until_ready())
    out_bs = jnp.concatenate(found, axis=1)
    return jnp.pad(out_bs, ((0, 0), (0, new_tokens - out_bs.shape[1])), constant_values=stop_token or 0)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _prefill(config: ModelConfig, params: Params, cache: Cache, tokens_bt: jax.Array) -> tuple[jax.Array, Cache]:
    return step(config, params, cache, tokens_bt, first=True)


@partial(jax.jit, static_argnames="greedy")
def _choose(logits_bv: jax.Array, temperature: float, key: jax.Array, *, greedy: bool) -> jax.Array:
    if greedy:
        return logits_bv.argmax(-1).astype(jnp.int32)
    return jax.random.categorical(key, logits_bv / temperature).astype(jnp.int32)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def _decode(
    config: ModelConfig, stop_token: int | None, greedy: bool, params: Params, cache: Cache, token_b: jax.Array,
    temperature: float, keys: jax.Array, count: int,
) -> tuple[Cache, jax.Array, jax.Array]:  # fmt: skip
    """The next `count` tokens, in the first columns of [B, number of keys]; the cache and the last of them."""

    def one_token(i: jax.Array, carry: tuple[Cache, jax.Array, jax.Array]) -> tuple[Cache, jax.Array, jax.Array]:
        cache, token_b, out_bs = carry
        logits_bv, cache = step(config, params, cache, token_b[:, None])
        next_b = _choose(logits_bv, temperature, keys[i], greedy=greedy)
        if stop_token is not None:
            next_b = jnp.where(token_b == stop_token, stop_token, next_b)
        return cache, next_b, out_bs.at[:, i].set(next_b)

    out_bs = jnp.zeros((token_b.size, keys.size), jnp.int32)
    return lax.fori_loop(0, count, one_token, (cache, token_b, out_bs))
