"""`decode`: the Pallas-Triton kernels of this project for few queries of many keys, on NVIDIA and AMD GPUs."""

from __future__ import annotations

from typing import ClassVar, Final

from attention.attended import Attended
from attention.backends.base import Backend, Counts, Operands, Request, takes_one_dtype, takes_spans
from attention.backends.pallas import pallas_cannot

MOST_ROWS: Final = 64
"""Queries of a key-value head's group: more fill tiles of the kernels that are made for prompts."""
LEAST_KEYS: Final = 64
"""Fewer leave nothing to divide."""


class Decode(Backend):
    """Spans over keys in any order, which are divided among programs and read where they lie.  Differentiable."""

    name = "decode"
    place = 0
    counts: ClassVar[Counts] = "visited tiles"
    reads_stacks = True

    def cannot(self, request: Request) -> str | None:
        q, k = request.q_btnh, request.k_bskh
        if reason := takes_one_dtype("decode", request) or takes_spans("decode", request):
            return reason
        if reason := pallas_cannot(q.shape[-1], request.target):
            return reason.replace("pallas", "decode", 1)
        rows = q.shape[1] * q.shape[2] // k.shape[2]
        return f"decode takes up to {MOST_ROWS} queries of a key-value head, got {rows}" if rows > MOST_ROWS else None

    def pays(self, request: Request) -> bool:
        return request.k_bskh.shape[1] >= LEAST_KEYS

    def run(self, operands: Operands, *, need_lse: bool) -> Attended:
        from attention.kernels.pallas_decode import attend_decode  # Triton's compiler is loaded here

        return attend_decode(*operands)
