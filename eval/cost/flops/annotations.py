"""How often the loops of named calls turn, where a program alone cannot say.

An annotation looks at a call by its name and gives how often each named call inside it runs in all, or None if the
call is not its business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np

from attention.kernels.cover import blocks_of_walk, visit_name, walk_visits
from attention.kernels.mosaic_item import count_tiles
from attention.kernels.pallas_ranges import Ranges
from attention.kernels.tiles import MOSAIC_KEYS, MOSAIC_ROWS
from eval.cost.flops.constant_folding import Known, Operand

Annotation = Callable[[str, Sequence[Operand]], Mapping[str, int] | None]


class NeedsValue(ValueError):
    """The cost depends on values that are not constants of the traced function."""


def span_walk(name: str, operands: Sequence[Operand]) -> dict[str, int] | None:
    """The visits of one walk of `attention.kernels.blockwise`, from its positions, spans and sinks."""
    blocks = blocks_of_walk(name)
    if blocks is None:
        return None
    known = [operand.value for operand in operands[3:7] if isinstance(operand, Known)]
    if len(known) < 4:
        raise NeedsValue(
            f"{name} visits the tiles that positions select, and these positions are arguments of the counted "
            "function: close over them, so that they are constants"
        )
    q_pos_t, kv_pos_s, span_gt, sink_g = map(np.asarray, known)
    visits = walk_visits(span_gt, sink_g, q_pos_t, kv_pos_s, blocks)
    return {visit_name(granules): times for granules, times in visits.items()}


def span_attention(eqn: Any, operands: Sequence[Operand]) -> int | None:
    """FLOPs of one call of the kernel in `attention.kernels.pallas_attention`: the tiles that its bounds name.

    Raises `NeedsValue` where the bounds are not constants, `ValueError` for keys out of order, whose tiles the kernel
    tests itself.
    """
    if eqn.params["name"] != "span_attention":
        return None
    sizes, ranges = eqn.params["metadata"], _bounds(operands[-1], "span_attention")
    if ranges.tested.any():
        raise ValueError("span_attention over keys out of order tests tiles as it goes: count those that it visited")
    visited = ranges.sink_end - ranges.sink_start + ranges.near_end - ranges.near_start
    programs = eqn.outvars[1].aval.shape
    return _tiles(visited, programs) * 4 * int(sizes["rows"]) * int(sizes["keys"]) * eqn.outvars[0].aval.shape[-1]


def mosaic_attention(eqn: Any, operands: Sequence[Operand]) -> int | None:
    """The same for the kernel in `attention.kernels.mosaic_attention`."""
    if eqn.params["name"] != "mosaic_attention":
        return None
    ranges = _bounds(operands[-1], "mosaic_attention")
    *batches, t, n, h = eqn.outvars[0].aval.shape
    rows = 2 * MOSAIC_ROWS
    return _tiles(count_tiles(ranges), (*batches, n, t // rows)) * 4 * rows * MOSAIC_KEYS[h] * h


def _bounds(ranges: Operand, kernel: str) -> Ranges:
    if not isinstance(ranges, Known):
        raise NeedsValue(f"{kernel} visits the tiles that positions select: close over them, as constants")
    return Ranges(*np.moveaxis(ranges.value, -1, 0)[: len(Ranges._fields)])


def _tiles(visited: jax.typing.ArrayLike, programs: tuple[int, ...]) -> int:
    """Over all programs; heads and batches that see alike share their bounds."""
    counts = np.asarray(visited, np.int64)
    return int(counts.sum()) * (math.prod(programs) // counts.size)


PALLAS_KERNELS: Final = (span_attention,)
"""What Pallas-Triton kernels cost that do not say so themselves, from the operands of a `pallas_call`."""
CALLED_KERNELS: Final = (mosaic_attention,)
"""The same for kernels of which a program shows no more than the function that calls them."""

ANNOTATIONS: Final[tuple[Annotation, ...]] = (span_walk,)
