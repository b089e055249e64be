"""What a backend of attention is: why it cannot, how it runs, and where the counts of what it ran come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np

from attention.attended import Attended
from attention.chosen import BlockChoice, Choice, TokenChoice
from attention.kernels.block_routed import most_pairs
from attention.kernels.cover import executed_pairs, executed_pairs_of_spans
from attention.pattern import Array, SpanPattern, Spans
from attention.stacked import InStack

Pattern = SpanPattern | Spans | Choice
Order = Literal["any", "keys", "prompt"]
Counts = Literal["closed form", "visited tiles", "not told"]


@dataclass(frozen=True)
class Request:
    """What a backend is asked to run, known while a program is traced: its shapes, its pattern and its promises.

    Attributes:
        q_btnh, k_bskh: arrays or their shapes; values are of the keys' shape and dtype.
        pattern, order, need_lse: as `attention.attend.attend` has them.
        target: the device that is compiled for, as `attention.kernels.target.current_target` names it.
        scored: whether scores are changed by a function.
    """

    q_btnh: jax.Array | jax.ShapeDtypeStruct
    k_bskh: jax.Array | InStack | jax.ShapeDtypeStruct
    pattern: Pattern
    order: Order
    need_lse: bool
    target: str
    scored: bool = False


class Operands(NamedTuple):
    """What `attention.attend.attend` was given, checked.

    Keys, values and their positions are arrays, but may be layers of stacks for a backend that `reads_stacks`.
    """

    q_btnh: jax.Array
    k_bskh: Any
    v_bskh: Any
    q_pos_bt: Array
    kv_pos_bks: Any
    pattern: Any
    """A `Pattern`: of the kind that `Backend.cannot` let pass."""


class CannotRun(ValueError):
    """Why a backend that was asked for by name cannot run what it was asked for."""


class Backend:
    """Base of the backends: a subclass and `BACKENDS.register(MyBackend())` make one that `impl=` and `--impl` name.

    Attributes:
        name: by which it is asked for.
        place: where it stands when `auto` asks, the least first; None where only its name calls it.
        counts: where its executed pairs come from: the `closed form` of `executed_pairs`; the `visited tiles` that its
            runs report; or it is `not told`: before a run those of the blockwise walk stand for them, in records
            of a GPU the useful ones.
        reads_stacks: whether `run` takes keys and values as `attention.stacked.InStack`, too.
        takes_scores: whether `run` takes a function `score` of scores, too.
    """

    name: ClassVar[str]
    place: ClassVar[int | None] = None
    counts: ClassVar[Counts] = "not told"
    reads_stacks: ClassVar[bool] = False
    takes_scores: ClassVar[bool] = False

    def cannot(self, request: Request) -> str | None:
        """Why it cannot run this, in words that begin with its name; None if it can."""
        raise NotImplementedError

    def pays(self, request: Request) -> bool:
        """Whether `auto` wants it for what it can run."""
        return True

    def run(self, operands: Operands, *, need_lse: bool) -> Attended:
        """Attention, with `visited` where it tells, and `lse_bnt` at least where that is needed."""
        raise NotImplementedError

    def executed_pairs(
        self, pattern: Pattern, n_heads: int, n_kv_heads: int, q_pos_t: np.ndarray, kv_pos_s: np.ndarray
    ) -> int:
        """(query, key) pairs of one call, all query heads, batch 1, known without a run: spans as arrays of numpy.

        Those of the blockwise walk, which also stand for kernels whose tiles only a run on their device tells.
        """
        if isinstance(pattern, TokenChoice):
            return n_heads * q_pos_t.size * pattern.choices(kv_pos_s.size)
        if isinstance(pattern, BlockChoice):
            return most_pairs(pattern, n_heads, n_kv_heads, q_pos_t.size, kv_pos_s.size)
        if isinstance(pattern, Spans):
            spans = np.asarray(pattern.span_bmt)[0], int(pattern.sink_m[0])
            return executed_pairs_of_spans(*spans, n_heads, n_kv_heads, q_pos_t, kv_pos_s)
        return executed_pairs(pattern, n_heads, n_kv_heads, q_pos_t, kv_pos_s)


def takes_one_dtype(name: str, request: Request) -> str | None:
    """The refusal of a kernel whose queries, keys and values are of one dtype."""
    q, k = request.q_btnh.dtype, request.k_bskh.dtype
    return None if q == k else f"{name} takes q, k and v of one dtype, got {q} and {k}"


def takes_spans(name: str, request: Request) -> str | None:
    """The refusal of a kernel that knows no chosen keys."""
    if not isinstance(request.pattern, Choice):
        return None
    what = "blocks" if isinstance(request.pattern, BlockChoice) else "keys"
    return f"{name} takes spans, not {what} that queries choose"
