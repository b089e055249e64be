"""`mosaic`: the Pallas-Mosaic kernel of this project, on Hopper."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from attention.attended import Attended
from attention.backends.base import Backend, Counts, Operands, Request, takes_one_dtype, takes_spans
from attention.kernels.tiles import MOSAIC_KEYS, MOSAIC_ROWS


class Mosaic(Backend):
    """Spans over keys that stand in order, in 16 bits.  Differentiable."""

    name = "mosaic"
    place = 10
    counts: ClassVar[Counts] = "visited tiles"

    def cannot(self, request: Request) -> str | None:
        q = request.q_btnh
        if reason := takes_one_dtype("mosaic", request) or takes_spans("mosaic", request):
            return reason
        if request.target != "sm_90":
            return f"mosaic runs on sm_90, this is {request.target}"
        if request.order not in ("keys", "prompt"):
            return "mosaic takes keys that are known to stand at 0, 1, 2, ..., as in the first step of a prompt"
        if q.dtype not in (jnp.bfloat16, jnp.float16):
            return f"mosaic takes bfloat16 and float16, got {q.dtype}"
        if q.shape[-1] not in MOSAIC_KEYS:
            return f"mosaic takes head sizes {', '.join(map(str, MOSAIC_KEYS))}, got {q.shape[-1]}"
        return None

    def pays(self, request: Request) -> bool:
        """Where there are queries for a tile of it."""
        return request.q_btnh.shape[1] >= 2 * MOSAIC_ROWS

    def run(self, operands: Operands, *, need_lse: bool) -> Attended:
        from attention.kernels.mosaic_spans import attend_mosaic_spans  # Mosaic's compiler is loaded here

        return attend_mosaic_spans(*operands, return_lse=need_lse)
