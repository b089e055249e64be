"""What ran for a layer's attention: which implementation, and the pairs of the tiles that it visited."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp

from attention.attend import attend
from attention.attended import Attended
from attention.backends.base import Order
from attention.chosen import BlockChoice
from attention.kernels.score import Score
from attention.mixer import Mixer
from eval.cost.flops.model_program import component_of
from eval.cost.flops.traced import count_flops
from eval.measure.by_target import cached_by_target
from eval.measure.layer_program import layer_kernel
from eval.measure.timing import compile_program
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class Work:
    """Of one layer of one prompt.

    Attributes:
        impls: the implementations that ran, in the order of their first call.
        visited_pairs: (query, key) pairs of the tiles that ran, all query heads; None where one of them does not tell,
            as cuDNN and tokamax do not.
    """

    impls: tuple[str, ...]
    visited_pairs: int | None


@cached_by_target
def layer_work(config: ModelConfig, variant: Mixer, tokens: int, dtype: Any, impl: str = "auto") -> Work:
    """Runs the layer once, apart from any timing.  Remembers what it found."""
    layer, arguments = layer_kernel(config, variant, tokens, dtype, attend=partial(attend, impl=impl))
    program = compile_program(layer, *arguments)
    attended: Attended = program.compiled(*program.arguments)
    return Work(attended.impl, None if attended.visited is None else int(attended.visited))


@cached_by_target
def selection_flops(config: ModelConfig, variant: Mixer, tokens: int, dtype: Any, impl: str = "auto") -> int:
    """What choosing who is seen costs in a layer as it runs here, whose kernels pad: from a trace, nothing runs."""
    if not variant.at_length(tokens).useful(config.heads, tokens).selection_flops:
        return 0

    def choosing(*operands: Any, order: Order = "any", need_lse: bool = False, score: Score | None = None) -> Attended:
        q_btnh, *_, pattern = operands
        if isinstance(pattern, BlockChoice):  # chosen inside
            return attend(*operands, impl=impl, order=order, need_lse=need_lse)
        b, t, n, _ = q_btnh.shape
        return Attended(jnp.zeros_like(q_btnh), jnp.zeros((b, n, t), jnp.float32))

    layer, arguments = layer_kernel(config, variant, tokens, dtype, attend=choosing)
    return count_flops(layer, *arguments).grouped(component_of).get("selection", 0)
