"""`pallas`: the Pallas-Triton kernels of this project, on NVIDIA and AMD GPUs."""

from __future__ import annotations

from typing import ClassVar

from attention.attended import Attended
from attention.backends.base import Backend, Counts, Operands, Request, takes_one_dtype
from attention.chosen import BlockChoice, TokenChoice
from attention.kernels.target import is_gpu
from attention.kernels.tiles import TRITON_HEAD_SIZES


class Pallas(Backend):
    """Every pattern but keys chosen one by one, and every order of positions.  Differentiable."""

    name = "pallas"
    place = 30
    counts: ClassVar[Counts] = "visited tiles"

    def cannot(self, request: Request) -> str | None:
        if isinstance(request.pattern, TokenChoice):
            return "pallas takes spans and blocks, not keys that queries choose one by one"
        return takes_one_dtype("pallas", request) or pallas_cannot(request.q_btnh.shape[-1], request.target)

    def run(self, operands: Operands, *, need_lse: bool) -> Attended:
        from attention.kernels.pallas_blocks import attend_pallas_blocks  # Triton's compiler is loaded here
        from attention.kernels.pallas_spans import attend_pallas_spans

        is_choice = isinstance(operands.pattern, BlockChoice)
        return (attend_pallas_blocks if is_choice else attend_pallas_spans)(*operands, return_lse=need_lse)


def pallas_cannot(head_dim: int, target: str) -> str | None:
    """Why the Triton kernels cannot serve heads of such a size on `target`, None if they can."""
    if not is_gpu(target):
        return f"pallas runs on GPUs, this is {target}"
    if head_dim not in TRITON_HEAD_SIZES:
        return f"pallas takes head sizes {', '.join(map(str, TRITON_HEAD_SIZES))}, got {head_dim}"
    return None
