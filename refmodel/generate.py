"""Decoding with the cache, some tokens a program."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from attention.checks import MOST_SEED, described, has_axes, of_kind, whole
from refmodel.beyond_context import say_beyond_context
from refmodel.cache import Cache, init_cache
from refmodel.model import Params, step
from refmodel.room import refuse_a_cache_that_cannot_fit
from refmodel.sampling import Sampling, choose, sampling
from refmodel.specification import ModelConfig
from refmodel.token_ids import check_token_ids
from refmodel.tree import check_params

TOKENS_A_CALL = 16
"""Decoded by one program: between two of them a stop is seen, and so is an interrupt from the keyboard."""


def generate(
    config: ModelConfig,
    params: Params,
    tokens_bt: jax.Array,
    new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop_tokens: Collection[int] = (),
) -> jax.Array:
    """The prompt's continuation, [B, new_tokens].

    Greedy at temperature 0, otherwise drawn from softmax(logits / temperature), of which `top_k` and `top_p` leave the
    likeliest tokens in (`refmodel.sampling.left_in`).  A row that has produced one of `stop_tokens` repeats it to the
    end.  More tokens than the model is made for are said in the log `refmodel`.

    Raises:
        ValueError: an empty prompt, an id that the vocabulary does not have, in the prompt or as a stop, no new tokens,
            a negative temperature, a `top_k` or `top_p` that leaves nothing in or comes without a temperature, or more
            tokens than the free memory has room for.
    """
    how = sampling(temperature, top_k, top_p)
    lots = decode(config, params, tokens_bt, new_tokens, how, seed=seed, stop_tokens=stop_tokens)
    return joined(lots, new_tokens)


def joined(lots: Iterable[jax.Array], new_tokens: int) -> jax.Array:
    """[B, new_tokens] of what `decode` gives: where every row has stopped earlier, each repeats its stop."""
    out_bs = jnp.concatenate(list(lots), axis=1)
    return jnp.pad(out_bs, ((0, 0), (0, new_tokens - out_bs.shape[1])), mode="edge")


def decode(
    config: ModelConfig,
    params: Params,
    tokens_bt: jax.Array,
    new_tokens: int,
    how: Sampling,
    *,
    seed: int = 0,
    stop_tokens: Collection[int] = (),
    tokens_a_call: int | None = None,
) -> Iterator[jax.Array]:
    """The new tokens in lots [B, count] as they are there: the first one alone, then `tokens_a_call` at a time (at most
    and by default `TOKENS_A_CALL`), until `new_tokens` are there or each row has produced a stop.

    It is one program for lots of any size, so that the tokens are the same.  Raises `ValueError` as `generate`, before
    the first lot is asked for.
    """
    check_params(params)
    has_axes("tokens", tokens_bt, "[B, T]")
    if not tokens_bt.size or not jnp.issubdtype(tokens_bt.dtype, jnp.integer):
        raise ValueError(f"tokens must be whole numbers, [B, T], one at least, got {described(tokens_bt)}")
    batch, prompt_tokens = tokens_bt.shape
    whole("new_tokens", new_tokens)
    whole("seed", seed, 0, MOST_SEED)
    of_kind("stop_tokens: a collection of ids", stop_tokens, Collection)
    check_token_ids(tokens_bt, config.vocab_size)
    capacity_tokens, dtype = prompt_tokens + new_tokens - 1, params["embed"]["embedding"].dtype
    settled = config.at_length(capacity_tokens, prompt_tokens)
    refuse_a_cache_that_cannot_fit(settled, batch, capacity_tokens, dtype)
    say_beyond_context(config, prompt_tokens, new_tokens)
    stops = tuple(sorted({whole("stop_tokens", one, 0, config.vocab_size - 1) for one in stop_tokens}))
    keys = jax.random.split(jax.random.key(seed), new_tokens)
    most = TOKENS_A_CALL if tokens_a_call is None else whole("tokens_a_call", tokens_a_call, 1, TOKENS_A_CALL)
    return _lots(settled, params, tokens_bt, capacity_tokens, how, keys, stops, most)


def _lots(
    config: ModelConfig, params: Params, tokens_bt: jax.Array, capacity_tokens: int, how: Sampling, keys: jax.Array,
    stops: tuple[int, ...], most: int,
) -> Iterator[jax.Array]:  # fmt: skip
    new_tokens = len(keys)
    cache = init_cache(config, len(tokens_bt), capacity_tokens, params["embed"]["embedding"].dtype)
    logits_bv, cache = _prefill(config, params, cache, tokens_bt)
    token_b = _choose(logits_bv, keys[0], how)
    yield token_b[:, None]
    for start in range(1, new_tokens, most):
        if stops and bool(_is_one_of(token_b, stops).all()):
            return
        count = min(most, new_tokens - start)
        lot_keys = keys[jnp.minimum(start + jnp.arange(TOKENS_A_CALL), new_tokens - 1)]
        cache, token_b, later_bs = _decode(config, stops, params, cache, token_b, how, lot_keys, count)
        yield later_bs[:, :count].block_until_ready()


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _prefill(config: ModelConfig, params: Params, cache: Cache, tokens_bt: jax.Array) -> tuple[jax.Array, Cache]:
    return step(config, params, cache, tokens_bt, first=True)


_choose = jax.jit(choose)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _decode(
    config: ModelConfig, stops: tuple[int, ...], params: Params, cache: Cache, token_b: jax.Array, how: Sampling,
    keys: jax.Array, count: int,
) -> tuple[Cache, jax.Array, jax.Array]:  # fmt: skip
    """The next `count` tokens, in the first columns of [B, number of keys]; the cache and the last of them."""

    def one_token(i: jax.Array, carry: tuple[Cache, jax.Array, jax.Array]) -> tuple[Cache, jax.Array, jax.Array]:
        cache, token_b, out_bs = carry
        logits_bv, cache = step(config, params, cache, token_b[:, None])
        next_b = choose(logits_bv, keys[i], how)
        if stops:
            next_b = jnp.where(_is_one_of(token_b, stops), token_b, next_b)
        return cache, next_b, out_bs.at[:, i].set(next_b)

    out_bs = jnp.zeros((token_b.size, keys.size), jnp.int32)
    return lax.fori_loop(0, count, one_token, (cache, token_b, out_bs))


def _is_one_of(token_b: jax.Array, stops: tuple[int, ...]) -> jax.Array:
    return (token_b[:, None] == jnp.asarray(stops, jnp.int32)).any(-1)
