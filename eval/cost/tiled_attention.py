"""What tiled attention saves, shown on this project's implementations: not FLOPs, but temporaries and bytes.

Temporaries fall from N² to N.  Bytes moved do not: a tile of R queries reads the keys and values before it, which makes
N²/(2R) keys in all, where dense attention moves scores and weights of N² pairs for each head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend
from attention.kernels.cover import GRANULE, choose_blocks, walk_visits
from attention.kernels.pallas_attention import attend_pallas
from attention.kernels.tiles import attention_tiles
from attention.pattern import UNBOUNDED, SpanPattern, visible_pairs
from eval.cost.flops.traced import count_flops
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class FlashPoint:
    """One layer's attention by one implementation.

    Attributes:
        useful_flops: of the visible pairs; executed_flops: traced.
        temporary_bytes: what the compiler allocates beside operands and result.
        moved_bytes: operands and result once, plus what goes out and comes back between: scores and weights of every
            pair (dense), or the key and value tiles that each query tile reads again (blockwise).
    """

    impl: str
    tokens: int
    useful_flops: int
    executed_flops: int
    temporary_bytes: int
    moved_bytes: int


def flash_point(config: ModelConfig, tokens: int, impl: str) -> FlashPoint:
    """Causal attention over `tokens` with the heads of `config`, in bf16; compiled for this machine, never run.

    The `pallas` kernel is traced with an H100's tiles, and its temporaries are the tables that it is handed.
    """
    if impl == "pallas":
        return _kernel_point(config, tokens)
    n, k, h = config.n_heads, config.n_kv_heads, config.head_dim
    pattern = SpanPattern()
    position = np.arange(tokens, dtype=np.int32)

    def program(
        q: jax.Array, key: jax.Array, value: jax.Array, position: jax.Array = jnp.asarray(position)
    ) -> jax.Array:
        return attend(q, key, value, position[None], position[None, None], pattern, impl=impl).out_btnh

    shapes = [jax.ShapeDtypeStruct((1, tokens, heads, h), jnp.bfloat16) for heads in (n, k, k)]
    # Positions are operands here, or the compiler works the whole mask out.
    lowered = jax.jit(program).lower(*shapes, jax.ShapeDtypeStruct(position.shape, position.dtype))
    unoptimised: dict[str, Any] = {"xla_backend_optimization_level": 0}
    memory = lowered.compile(unoptimised).memory_analysis()
    assert memory is not None
    return FlashPoint(
        impl,
        tokens,
        4 * h * visible_pairs(pattern, n, tokens),
        count_flops(program, *shapes).total,
        memory.temp_size_in_bytes,
        _through_bytes(shapes) + {"dense": _dense_bytes, "blockwise": _tile_bytes}[impl](config, position),
    )


def _kernel_point(config: ModelConfig, tokens: int) -> FlashPoint:
    n, k, h = config.n_heads, config.n_kv_heads, config.head_dim
    tiles = attention_tiles("sm_90", jnp.bfloat16, h)
    position = jnp.arange(tokens, dtype=jnp.int32)[None, None]
    everything, no_sink = jnp.full((1, 1, 1), UNBOUNDED, jnp.int32), jnp.zeros(1, jnp.int32)

    def program(q: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return attend_pallas(q, key, value, position, position, everything, no_sink, tiles=tiles)[0]

    shapes = [jax.ShapeDtypeStruct((1, tokens, heads, h), jnp.bfloat16) for heads in (n, k, k)]
    counted = count_flops(program, *shapes)
    tile_visits = counted.total // (4 * h * tiles.rows * tiles.keys)
    row_tables = 3 * 4 * config.group_size * tokens  # position, left and sink of each row, int32, shared by the heads
    return FlashPoint(
        "pallas",
        tokens,
        4 * h * visible_pairs(SpanPattern(), n, tokens),
        counted.total,
        row_tables + 4 * tokens,
        _through_bytes(shapes) + tile_visits * tiles.keys * h * 2 * 2,
    )


def _through_bytes(shapes: list[jax.ShapeDtypeStruct]) -> int:
    """Queries, keys and values in, the result out, in bf16."""
    return 2 * sum(math.prod(shape.shape) for shape in (*shapes, shapes[0]))


def _dense_bytes(config: ModelConfig, position: np.ndarray) -> int:
    """float32 scores and weights, each written and read once."""
    return 2 * 2 * 4 * config.n_heads * position.size**2


def _tile_bytes(config: ModelConfig, position: np.ndarray) -> int:
    """Granules of keys and values in bf16, as often as query tiles visit them."""
    pattern = SpanPattern()
    blocks = choose_blocks(pattern, position.size, position.size, config.group_size)
    span_g, sink_g = np.asarray(pattern.per_head(1)).T
    visits = walk_visits(span_g[:, None], sink_g, position, position, blocks)
    granules = sum(size * times for size, times in visits.items())
    return granules * GRANULE * 2 * 2 * config.n_kv_heads * config.head_dim
