"""`blockwise`: plain XLA that visits what is visible; where `auto` ends when nobody else can."""

from __future__ import annotations

from typing import ClassVar

from attention.attended import Attended
from attention.backends.base import Backend, Counts, Operands, Request
from attention.chosen import BlockChoice, TokenChoice
from attention.kernels.block_routed import attend_chosen
from attention.kernels.blockwise import attend_blockwise
from attention.kernels.chosen_tokens import attend_tokens
from attention.kernels.score import Score


class Blockwise(Backend):
    """Any operands on any device, in memory linear in the prompt, also in reverse mode.  What ran is reported too."""

    name = "blockwise"
    place = 90
    counts: ClassVar[Counts] = "closed form"
    takes_scores = True

    def cannot(self, request: Request) -> None:
        return None

    def run(self, operands: Operands, *, need_lse: bool, score: Score | None = None) -> Attended:
        if isinstance(operands.pattern, TokenChoice):
            return attend_tokens(*operands)
        if isinstance(operands.pattern, BlockChoice):
            return attend_chosen(*operands)
        return attend_blockwise(*operands, score=score)
