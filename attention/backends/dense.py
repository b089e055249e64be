"""`dense`: the whole mask in float32, the oracle; `auto` takes it for decode steps and toy prompts."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from attention.attended import Attended
from attention.backends.base import Backend, Counts, Operands, Pattern, Request
from attention.chosen import BlockChoice, TokenChoice
from attention.exact_count import ExactCount
from attention.kernels.block_routed import attend_chosen_dense
from attention.kernels.chosen_tokens import attend_tokens_dense
from attention.kernels.dense import attend_dense
from attention.kernels.score import Score

DENSE_SCORES_LIMIT: Final = 2**16
"""`auto` materialises the scores of a head only up to this many; decode steps and toy prompts stay below."""


class Dense(Backend):
    """Any operands on any device, in memory that grows with queries x keys.  Differentiable."""

    name = "dense"
    place = 5
    counts: ClassVar[Counts] = "closed form"
    takes_scores = True

    def cannot(self, request: Request) -> None:
        return None

    def pays(self, request: Request) -> bool:
        return request.q_btnh.shape[1] * request.k_bskh.shape[1] <= DENSE_SCORES_LIMIT

    def run(self, operands: Operands, *, need_lse: bool, score: Score | None = None) -> Attended:
        if isinstance(operands.pattern, TokenChoice):
            out_btnh, lse_bnt = attend_tokens_dense(*operands)
        elif isinstance(operands.pattern, BlockChoice):
            out_btnh, lse_bnt = attend_chosen_dense(*operands)
        else:
            out_btnh, lse_bnt = attend_dense(*operands, score)
        (b, t, n, _), s = operands.q_btnh.shape, operands.k_bskh.shape[1]
        return Attended(out_btnh, lse_bnt, ExactCount.constant(b * n * t * s))

    def executed_pairs(
        self, pattern: Pattern, n_heads: int, n_kv_heads: int, q_pos_t: np.ndarray, kv_pos_s: np.ndarray
    ) -> int:
        return n_heads * q_pos_t.size * kv_pos_s.size
