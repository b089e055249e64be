"""Attention at its edges, drawn: what every implementation is given, and what float64 says of it.

Programs are few, cases many: a case draws its sizes and its static pattern from short lists, for those are compiled,
and everything else anew: values, positions, spans that are data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from attention.kernels.cover import Blocks
from attention.pattern import UNBOUNDED, SpanPattern, Spans


class Sizes(NamedTuple):
    """B, T, S, K, G, H."""

    b: int
    t: int
    s: int
    k: int
    g: int
    h: int


SIZES: Final = (
    Sizes(2, 13, 53, 3, 5, 7), Sizes(3, 67, 131, 1, 2, 16), Sizes(1, 139, 211, 2, 3, 16), Sizes(3, 1, 37, 2, 5, 64),
    Sizes(1, 11, 43, 1, 2, 256),
)  # fmt: skip


class Form(NamedTuple):
    """What a program is compiled for, beside its sizes.

    Attributes:
        own: whose positions there are: "all", of each "row", or of each "head" of a row.
        spans: a static pattern of N heads; else of whom data are: row (b or 1), heads (1, k or n), query (t or 1),
            heads of the sinks, and whether the values are told, so that queries are packed.
    """

    own: str
    spans: Callable[[int], SpanPattern] | tuple[str, str, str, str, bool]
    blocks: Blocks | None = None


FORMS: Final = (
    Form("all", lambda n: SpanPattern((29,), (3,)), Blocks(8, 64)),
    Form("row", lambda n: SpanPattern(tuple(1 + 17 * i % 97 for i in range(n)), tuple(5 * i % 11 for i in range(n)))),
    Form("head", ("b", "k", "t", "k", True)),
    Form("all", ("1", "1", "t", "1", True), Blocks(16, 192)),
    Form("row", lambda n: SpanPattern(), Blocks(16, 192)),
    Form("row", ("b", "n", "1", "k", False), Blocks(32, 128, whole=True)),
    Form("head", lambda n: SpanPattern((1,), (0,))),
    Form("all", lambda n: SpanPattern((UNBOUNDED, *(7 + i for i in range(n - 1))), (2,))),
    Form("all", ("1", "n", "t", "n", False), Blocks(8, 64)),
)
FAR: Final = 2**24
"""From here on float32 does not hold every position."""
LARGE: Final = 1e4
"""Of a logit."""


@dataclass(frozen=True)
class Case:
    """Operands of one call, and what it is compiled for."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    q_pos: np.ndarray
    kv_pos: np.ndarray
    pattern: SpanPattern | Spans
    blocks: Blocks | None
    sink_n: np.ndarray | None
    program: tuple[Sizes, int]
    named: str

    def mask(self) -> np.ndarray:
        """[B, N, T, S], by the definition."""
        b, t, n, _ = self.q.shape
        s, k = self.k.shape[1:3]
        p = np.broadcast_to(self.q_pos, (b, t)).astype(np.int64)[:, None, :, None]
        at = np.broadcast_to(self.kv_pos, (b, k, s)).astype(np.int64)[:, np.arange(n) // (n // k)][:, :, None]
        if isinstance(self.pattern, SpanPattern):
            of_heads = self.pattern.span, self.pattern.sink
            span, sink = (np.array(values).repeat(n // len(values)) for values in of_heads)
            span = span[None, :, None]
        else:
            span, sink, _ = (np.asarray(x, np.int64) if x is not None else None for x in self.pattern)
            span = span[:, np.arange(n) // (n // span.shape[1])]
            sink = sink[np.arange(n) // (n // sink.size)]
        sink = sink[None, :, None, None]
        return (at >= 0) & (at <= p) & ((at < sink) | (p - at < span[..., None]))

    def exact(self) -> tuple[np.ndarray, np.ndarray]:
        """out [B, T, N, H] and log-sum-exp [B, N, T] in float64; of a row that sees nothing 0, and -inf or its sink."""
        q, k, v = (x.astype(np.float64) for x in (self.q, self.k, self.v))
        group = q.shape[2] // k.shape[2]
        k, v = (x.repeat(group, axis=2) for x in (k, v))
        scores = np.where(self.mask(), np.einsum("btnh,bsnh->bnts", q, k) / q.shape[-1] ** 0.5, -np.inf)
        sink = np.full((1, 1, 1), -np.inf) if self.sink_n is None else self.sink_n.astype(float)[:, None, None]
        top = np.maximum(np.maximum(scores.max(-1, keepdims=True), sink), np.finfo(float).min)
        weights = np.exp(scores - top)
        total = weights.sum(-1, keepdims=True) + np.exp(sink - top)
        with np.errstate(divide="ignore"):
            lse = (top + np.log(total))[..., 0]
        return np.einsum("bnts,bsnh->btnh", weights / np.where(total == 0, 1, total), v), lse


def drawn_cases(number: int, seed: int, sizes: int = len(SIZES), forms: int = len(FORMS)) -> Iterator[Case]:
    """So many cases of the first sizes and forms; the i-th is the same whatever their number."""
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        yield _drawn(rng, SIZES[i % sizes], int(rng.integers(forms)), f"seed {seed}, case {i}")


def _drawn(rng: np.random.Generator, size: Sizes, form: int, named: str) -> Case:
    b, t, s, k, g, h = size
    own, spans, blocks = FORMS[form]
    base = int(rng.choice([0, 0, FAR, rng.integers(FAR, UNBOUNDED - 4 * s)]))
    q_pos, kv_pos = _positions(rng, size, own, base)
    q, keys, v = (rng.normal(size=shape) for shape in ((b, t, k * g, h), (b, s, k, h), (b, s, k, h)))
    if h in (16, 64, 256) and rng.random() < 0.3:  # whole numbers and roots: large scores without a rounding
        q, keys = (rng.integers(-9, 10, x.shape).astype(float) for x in (q, keys))
        largest = np.abs(np.einsum("btkgh,bskh->bkgts", q.reshape(b, t, k, g, h), keys)).max() / h**0.5
        q *= round(LARGE / max(largest, 1.0))
    pattern = spans(k * g) if callable(spans) else _spans(rng, size, spans, base)
    return Case(
        *(x.astype(np.float32) for x in (q, keys, v)), q_pos.astype(np.int32), kv_pos.astype(np.int32), pattern,
        blocks, _sink_logits(rng, k * g) if (form + SIZES.index(size)) % 2 else None, (size, form), named,
    )  # fmt: skip


def _sink_logits(rng: np.random.Generator, n_heads: int) -> np.ndarray:
    """Learned sinks, which every other program has: as of a model, all of the softmax, or nothing of it."""
    beyond = rng.choice([0, 10 * LARGE, -10 * LARGE], n_heads, p=[0.8, 0.1, 0.1])
    return np.where(beyond, beyond, rng.normal(0, 3, n_heads)).astype(np.float32)


def _positions(rng: np.random.Generator, size: Sizes, own: str, base: int) -> tuple[np.ndarray, np.ndarray]:
    """[1 or B, T] and [1 or B, 1 or K, S]."""
    b, t, s, k, _, _ = size
    rows, heads = (1 if own == "all" else b), (k if own == "head" else 1)
    order = ("chunk", "ragged", "gaps", "any", "before")[rng.integers(5)]
    if order == "chunk":  # the end of a cache
        return base + np.arange(s - t, s)[None].repeat(rows, 0), base + np.arange(s) + np.zeros((rows, heads, 1), int)
    if order == "ragged":  # rows of different lengths, padded behind
        ends = rng.integers(1, s + 1, (rows, 1))
        kv_pos = np.where(np.arange(s) < ends, base + np.arange(s), -1)[:, None].repeat(heads, 1)
        q_pos = base + ends - t + np.arange(t) + rng.integers(0, 3, (rows, 1))
        return np.where((q_pos < base) | (rng.random((rows, t)) < 0.1), -1, q_pos), kv_pos
    kv_pos = base + np.stack([[np.sort(rng.permutation(3 * s)[:s]) for _ in range(heads)] for _ in range(rows)])
    if order == "any":
        kv_pos = rng.permuted(np.where(rng.random(kv_pos.shape) < 0.3, -1, kv_pos), axis=-1)
    first = -3 * s if order == "before" else 0  # queries of which most see nothing, for their keys come later
    return np.maximum(base + np.sort(rng.integers(first, 3 * s, (rows, t))), 0), kv_pos


def _spans(rng: np.random.Generator, size: Sizes, of: tuple[str, str, str, str, bool], base: int) -> Spans:
    """Spans of few values, and sinks, as data."""
    of_b, of_m, of_t, of_sinks, are_told = of
    counts = {"1": 1, "b": size.b, "k": size.k, "n": size.k * size.g, "t": size.t}
    few = np.sort([1, int(rng.integers(2, size.s)), UNBOUNDED])
    sinks = rng.choice([0, 1, 9, size.s, min(base + size.s // 2, UNBOUNDED)], counts[of_sinks])
    span_bmt = rng.choice(few, (counts[of_b], counts[of_m], counts[of_t]))
    return Spans(span_bmt.astype(np.int32), sinks.astype(np.int32), few.astype(np.int32) if are_told else None)
