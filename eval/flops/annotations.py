"""How often the loops of named calls turn, where a program alone cannot say.

An annotation looks at a call by its name and gives how often each named call inside it runs in all, or None if the
call is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from attention.kernels.cover import blocks_of_walk, visit_name, walk_visits
from eval.flops.known import Known

Annotation = Callable[[str, Sequence[Known | None]], Mapping[str, int] | None]


class NeedsValue(ValueError):
    """The cost depends on values that are not constants of the traced function."""


def span_walk(name: str, operands: Sequence[Known | None]) -> dict[str, int] | None:
    """The visits of one walk of `attention.kernels.blockwise`, from its positions, spans and sinks."""
    blocks = blocks_of_walk(name)
    if blocks is None:
        return None
    if any(operand is None for operand in operands[3:]):
        raise NeedsValue(
            f"{name} visits the tiles that positions select, and these positions are arguments of the counted "
            "function: close over them, so that they are constants"
        )
    q_pos_t, kv_pos_s, span_gt, sink_g = (np.asarray(operand.value) for operand in operands[3:])
    visits = walk_visits(span_gt, sink_g, q_pos_t, kv_pos_s, blocks)
    return {visit_name(granules): times for granules, times in visits.items()}


ANNOTATIONS: Final[tuple[Annotation, ...]] = (span_walk,)
