"""What tiled attention saves: not FLOPs, but temporaries and bytes.  Shown on this project's implementations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend
from attention.kernels.cover import GRANULE, choose_blocks, walk_visits
from attention.pattern import SpanPattern, visible_pairs
from eval.flops.traced import count_flops
from refmodel.config import ModelConfig


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
    """Causal attention over `tokens` with the heads of `config`, in bf16; compiled for this machine, never run."""
    n, k, h = config.n_heads, config.n_kv_heads, config.head_dim
    pattern = SpanPattern()
    position = np.arange(tokens, dtype=np.int32)

    def program(q, key, value, position=jnp.asarray(position)):
        return attend(q, key, value, position[None], position[None, None], pattern, impl=impl)

    shapes = [jax.ShapeDtypeStruct((1, tokens, heads, h), jnp.bfloat16) for heads in (n, k, k)]
    # Positions are operands here, or the compiler works the whole mask out.
    lowered = jax.jit(program).lower(*shapes, jax.ShapeDtypeStruct(position.shape, position.dtype))
    memory = lowered.compile({"xla_backend_optimization_level": 0}).memory_analysis()
    through = 2 * sum(math.prod(shape.shape) for shape in shapes) + 2 * math.prod(shapes[0].shape)
    return FlashPoint(
        impl,
        tokens,
        4 * h * visible_pairs(pattern, n, tokens),
        count_flops(program, *shapes).total,
        memory.temp_size_in_bytes,
        through + {"dense": _dense_bytes, "blockwise": _tile_bytes}[impl](config, position),
    )


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
