"""The transformer: (params, cache, tokens) -> (logits, cache), a pure function of its arguments.

One step serves one-shot prefill, a chunk of a prefill, and decode: it reads positions, never "the prompt".
Parameters are a nested dict, as `refmodel.parameters` lists them; layers of the same shapes are stacked in front:

    embed.embedding [V, D]      final_norm.scale [D]      head.kernel [D, V] (absent when tied)
    blocks.<stack>.attn_norm.scale  .attn.{q,k,v,o}  .attn.{q,k}_norm.scale  .ffn_norm.scale  .ffn.{...}
"""

from __future__ import annotations

import reprlib
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int

from attention.attend import attend
from attention.attended import AttendFn
from attention.checks import described, of_kind, of_whole_numbers
from refmodel.attend_layer import LayerIndex, StepInput
from refmodel.cache import Cache, init_cache
from refmodel.ends import embed, embedded, unembed
from refmodel.layers import Block
from refmodel.norm import rms_norm
from refmodel.plan import Run, layer_plan
from refmodel.rope import rope_angles
from refmodel.schedule import prefill_steps
from refmodel.specification import ModelConfig, check_config
from refmodel.token_ids import check_token_ids
from refmodel.tree import Params, check_params

__all__ = ["Hidden", "embed", "hidden_states", "prefill", "step", "unembed"]


class Hidden(NamedTuple):
    """Final hidden states [B, T, D], the cache, and, if asked for, each layer's output [L, B, T, D]."""

    final_btd: jax.Array
    cache: Cache
    layers_lbtd: jax.Array | None


def step(
    config: ModelConfig,
    params: Params,
    cache: Cache,
    tokens_bt: Int[Array, "b t"],
    *,
    logits: Literal["last", "all"] = "last",
    positions_bt: jax.Array | None = None,
    attend: AttendFn = attend,
    first: bool = False,
) -> tuple[Float32[Array, "b *t v"], Cache]:
    """Feeds T tokens: logits [B, V] of the last one (the default) or [B, T, V] of all, in float32, and the new cache.

    `positions_bt` defaults to the next T positions; -1 marks padding (a ragged cache keeps rows of several lengths).
    `first` says that the cache is empty, so that nothing but the step's own tokens needs to be looked at.
    Raises `ValueError` for a step past the cache's room, and for ids that the vocabulary does not have.  Under jit
    nothing can raise: there the logits of a step past the room are NaN, and ids are not looked at.
    """
    hidden = hidden_states(config, params, cache, tokens_bt, positions_bt=positions_bt, attend=attend, first=first)
    final_btd = hidden.final_btd
    if logits == "last":
        last_b = jnp.full(len(tokens_bt), -1) if positions_bt is None else positions_bt.argmax(axis=1)
        final_btd = jnp.take_along_axis(final_btd, last_b[:, None, None], axis=1)[:, 0]
    return unembed(config, params, final_btd), hidden.cache


def hidden_states(
    config: ModelConfig,
    params: Params,
    cache: Cache,
    tokens_bt: Int[Array, "b t"],
    *,
    positions_bt: jax.Array | None = None,
    attend: AttendFn = attend,
    first: bool = False,
    every_layer: bool = False,
) -> Hidden:
    """The body of `step`, before the head.  `every_layer` also returns what each layer put out."""
    check_config(config)
    check_params(params)
    of_kind("cache: what init_cache or a step gave", cache, Cache)
    _check_tokens(tokens_bt)
    _check_room(config, cache, tokens_bt.shape[1])
    plan = layer_plan(config)
    in_order = first and positions_bt is None
    positions_bt = _positions(config, cache, tokens_bt, positions_bt)
    _check_ids(config, tokens_bt, positions_bt)
    x_btd = embedded(config, params, tokens_bt)
    positions = {(layer.heads.head_dim, layer.rope) for layer in config.layers}
    angles = {one: rope_angles(positions_bt, *one) for one in positions}

    def run_layers(run: Run, count: int, x_btd: jax.Array, stack: Any, cycle: jax.Array) -> Any:
        stacked = params["blocks"][run.kind]
        block = Block(run.layer, config.stacks.count(run.kind), x_btd.dtype)
        own_angles = angles[run.layer.heads.head_dim, run.layer.rope]
        inputs = StepInput(positions_bt, own_angles, cache.length, attend, first, in_order, config.n_layers)

        def one_layer(carry: Any, i: jax.Array) -> Any:
            x_btd, stack = carry
            index = LayerIndex(
                cycle * plan.per_cycle(run.kind) + run.first_of_kind + i,
                cycle * run.count + i,
                cycle * plan.cycle_layers + run.first + i,
            )
            x_btd, stack = block.apply({"params": stacked}, x_btd, index, inputs, run.variant, stack)
            return (x_btd, stack), x_btd if every_layer else None

        return lax.scan(one_layer, (x_btd, stack), jnp.arange(count, dtype=jnp.int32))

    def one_cycle(carry: Any, cycle: jax.Array, counts: tuple[int, ...] = tuple(run.count for run in plan.runs)) -> Any:
        x_btd, stacks = carry
        stacks, outputs = list(stacks), []
        for i, (run, count) in enumerate(zip(plan.runs, counts, strict=True)):
            if count:
                (x_btd, stacks[i]), output = run_layers(run, count, x_btd, stacks[i], cycle)
                outputs.append(output)
        return (x_btd, tuple(stacks)), jnp.concatenate(outputs) if every_layer else None

    carry, layers = lax.scan(one_cycle, (x_btd, cache.runs), jnp.arange(plan.repeats, dtype=jnp.int32))
    layers_lbtd = layers.reshape(-1, *x_btd.shape) if every_layer else None
    if any(plan.tail):
        carry, tail_lbtd = one_cycle(carry, jnp.int32(plan.repeats), plan.tail)
        layers_lbtd = None if layers_lbtd is None else jnp.concatenate([layers_lbtd, tail_lbtd])
    x_btd, stacks = carry
    final_btd = rms_norm(x_btd, params["final_norm"]["scale"], config.final_norm)
    length = cache.length + tokens_bt.shape[1]
    final_btd = jnp.where(length > _room_tokens(config, cache), jnp.nan, final_btd)
    return Hidden(final_btd, Cache(stacks, length), layers_lbtd)


def prefill(
    config: ModelConfig,
    params: Params,
    tokens_bt: Int[Array, "b t"],
    *,
    capacity_tokens: int | None = None,
    chunk_tokens: int | None = None,
    logits: Literal["last", "all"] = "last",
    attend: AttendFn = attend,
) -> tuple[Float32[Array, "b *t v"], Cache]:
    """Feeds a prompt to an empty cache with room for `capacity_tokens` (default: the prompt), in one step or in chunks.

    Chunks bound what a prompt holds at once beside its cache; those between the first and the last are one scan, and
    all but the last skip the head, so that the logits are those of the last token (or of the last chunk's).

    Raises `ValueError` for chunks that a variant of the layout cannot take.

    Examples:
        >>> import jax.numpy as jnp, refmodel
        >>> from refmodel.model import prefill
        >>> model = refmodel.load("tiny-dense")
        >>> logits_bv, cache = prefill(model.config, model.params, jnp.array([[2, 7, 1, 8]]), capacity_tokens=9)
        >>> logits_bv.shape, cache.runs[0].keys.shape  # [B, V]; layers, B, slots, K, H
        ((1, 257), (4, 1, 9, 2, 16))
    """
    check_config(config)
    check_params(params)
    _check_tokens(tokens_bt)
    batch, tokens = tokens_bt.shape
    steps = prefill_steps(tokens, chunk_tokens, capacity_tokens)
    config = config.at_length(steps[0].capacity, tokens)
    for variant in dict.fromkeys(config.layout):
        variant.check_steps((one.start, one.tokens) for one in steps)
    cache = init_cache(config, batch, steps[0].capacity, params["embed"]["embedding"].dtype)
    first, *middle, last = (*steps, None) if len(steps) == 1 else steps

    def one_chunk(cache: Cache, tokens_bt: jax.Array) -> tuple[Cache, None]:
        return hidden_states(config, params, cache, tokens_bt, attend=attend).cache, None

    if last is None:
        return step(config, params, cache, tokens_bt, logits=logits, attend=attend, first=True)
    cache = hidden_states(config, params, cache, tokens_bt[:, : first.tokens], attend=attend, first=True).cache
    if middle:
        chunks = tokens_bt[:, first.tokens : last.start].reshape(batch, len(middle), -1).swapaxes(0, 1)
        cache, _ = lax.scan(one_chunk, cache, chunks)
    return step(config, params, cache, tokens_bt[:, last.start :], logits=logits, attend=attend)


def _check_tokens(tokens_bt: jax.Array) -> None:
    if not hasattr(tokens_bt, "dtype") or tokens_bt.ndim != 2 or not jnp.issubdtype(tokens_bt.dtype, jnp.integer):
        got = described(tokens_bt) if hasattr(tokens_bt, "dtype") else reprlib.repr(tokens_bt)
        raise ValueError(f"tokens must be an array of whole numbers, [B, T], got {got}")


def _check_ids(config: ModelConfig, tokens_bt: jax.Array, positions_bt: jax.Array) -> None:
    """Outside of jit; what stands at padding may be anything."""
    if not any(isinstance(array, jax.core.Tracer) for array in (tokens_bt, positions_bt)):
        check_token_ids(np.where(np.asarray(positions_bt) < 0, 0, tokens_bt), config.vocab_size)


def _positions(config: ModelConfig, cache: Cache, tokens_bt: jax.Array, positions_bt: jax.Array | None) -> jax.Array:
    rows = {run.variant.position_rows(stack) for run, stack in zip(layer_plan(config).runs, cache.runs, strict=True)}
    if tokens_bt.shape[1] < 1:
        raise ValueError("a step feeds at least 1 token, got none")
    if positions_bt is None:
        if max(rows, default=1) > 1:
            raise ValueError("a ragged cache does not know how long each row is: give positions_bt")
        return (cache.length + jnp.arange(tokens_bt.shape[1], dtype=jnp.int32))[None]
    of_whole_numbers("positions", positions_bt)
    if positions_bt.shape[0] not in {1, *rows} or positions_bt.shape[1] != tokens_bt.shape[1]:
        raise ValueError(
            f"positions must be [1 or B, T] like tokens {tokens_bt.shape}, per row only with a ragged cache; "
            f"got {positions_bt.shape}"
        )
    return positions_bt


def _room_tokens(config: ModelConfig, cache: Cache) -> int:
    """Tokens after which some layer has lost one that a later query may see."""
    runs = zip(layer_plan(config).runs, cache.runs, strict=True)
    most = [tokens for run, stack in runs if (tokens := run.variant.most_tokens(stack)) is not None]
    return min(most, default=jnp.iinfo(jnp.int32).max)


def _check_room(config: ModelConfig, cache: Cache, tokens: int) -> None:
    """Raises `ValueError` where that is known: outside of jit."""
    room = _room_tokens(config, cache)
    if not isinstance(cache.length, jax.core.Tracer) and int(cache.length) + tokens > room:
        raise ValueError(
            f"the cache has room for {room:,} tokens, {int(cache.length):,} went in and {tokens:,} are to follow: "
            "make it with more capacity_tokens"
        )
