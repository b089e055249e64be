"""Decoding with the cache: greedy, or sampling at a temperature."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from attention.checks import described, whole
from refmodel.beyond_context import say_beyond_context
from refmodel.cache import Cache, init_cache
from refmodel.model import Params, step
from refmodel.specification import ModelConfig
from refmodel.token_ids import check_token_ids

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
    stop_tokens: Collection[int] = (),
) -> jax.Array:
    """The prompt's continuation, [B, new_tokens].

    Greedy at temperature 0, otherwise drawn from softmax(logits / temperature).  A row that has produced
    one of `stop_tokens` repeats it to the end.  More tokens than the model is made for are said in the log `refmodel`.

    Raises:
        ValueError: an empty prompt, an id that the vocabulary does not have, in the prompt or as a stop, no new tokens,
            or a negative temperature.
    """
    if tokens_bt.ndim != 2 or not tokens_bt.size or not jnp.issubdtype(tokens_bt.dtype, jnp.integer):
        raise ValueError(f"tokens must be whole numbers, [B, T], one at least, got {described(tokens_bt)}")
    batch, prompt_tokens = tokens_bt.shape
    whole("new_tokens", new_tokens)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be a finite number of at least 0, got {temperature}")
    check_token_ids(tokens_bt, config.vocab_size)
    say_beyond_context(config, prompt_tokens, new_tokens)
    stops = tuple(sorted({whole("stop_tokens", one, 0, config.vocab_size - 1) for one in stop_tokens}))
    config = config.at_length(prompt_tokens + new_tokens - 1)
    cache = init_cache(config, batch, prompt_tokens + new_tokens - 1, params["embed"]["embedding"].dtype)
    logits_bv, cache = _prefill(config, params, cache, tokens_bt)
    keys = jax.random.split(jax.random.key(seed), new_tokens)
    token_b = _choose(logits_bv, temperature, keys[0], greedy=temperature == 0)
    found = [token_b[:, None]]
    for start in range(1, new_tokens, TOKENS_A_CALL):
        if stops and bool(_is_one_of(token_b, stops).all()):
            break
        count = min(TOKENS_A_CALL, new_tokens - start)
        lot_keys = keys[jnp.minimum(start + jnp.arange(TOKENS_A_CALL), new_tokens - 1)]
        cache, token_b, later_bs = _decode(
            config, stops, temperature == 0, params, cache, token_b, temperature, lot_keys, count
        )
        found.append(later_bs[:, :count].block_until_ready())
    out_bs = jnp.concatenate(found, axis=1)
    return jnp.pad(out_bs, ((0, 0), (0, new_tokens - out_bs.shape[1])), mode="edge")


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
    config: ModelConfig, stops: tuple[int, ...], greedy: bool, params: Params, cache: Cache, token_b: jax.Array,
    temperature: float, keys: jax.Array, count: int,
) -> tuple[Cache, jax.Array, jax.Array]:  # fmt: skip
    """The next `count` tokens, in the first columns of [B, number of keys]; the cache and the last of them."""

    def one_token(i: jax.Array, carry: tuple[Cache, jax.Array, jax.Array]) -> tuple[Cache, jax.Array, jax.Array]:
        cache, token_b, out_bs = carry
        logits_bv, cache = step(config, params, cache, token_b[:, None])
        next_b = _choose(logits_bv, temperature, keys[i], greedy=greedy)
        if stops:
            next_b = jnp.where(_is_one_of(token_b, stops), token_b, next_b)
        return cache, next_b, out_bs.at[:, i].set(next_b)

    out_bs = jnp.zeros((token_b.size, keys.size), jnp.int32)
    return lax.fori_loop(0, count, one_token, (cache, token_b, out_bs))


def _is_one_of(token_b: jax.Array, stops: tuple[int, ...]) -> jax.Array:
    return (token_b[:, None] == jnp.asarray(stops, jnp.int32)).any(-1)
