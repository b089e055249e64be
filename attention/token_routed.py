"""Token-routed spans: a router gives each token's query a span of its own.

spans=2|full, sinks=1, tokens 3 and 5 routed to `full` (`s` a sink seen from beyond the span):

    key   0 1 2 3 4 5
    q 0   x
    q 1   x x
    q 2   s x x
    q 3   x x x x
    q 4   s     x x
    q 5   x x x x x x
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from attention.attended import Attended, AttendFn
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads, Lot, executed_pairs, step_positions
from attention.outline import Outline, of_spans
from attention.parameters import spelling
from attention.pattern import UNBOUNDED, Array, SpanPattern, Spans
from attention.routers import Linear, Router, Routes, route
from attention.unknown import unknown
from attention.variant import LayerInput, Variant

Per = Literal["layer", "group", "head"]


@dataclass(frozen=True)
class Routed(Variant):
    """`routed(spans, sinks=4, per=layer, router=linear)`: a query has the span that a router gave its token.

        r_t = argmax_e router(x_t);    t sees j  iff  j <= t and (j > t - spans[r_t] or j < sinks)

    One route per token and layer, key-value head (`per=group`) or query head (`per=head`).  Keys and values of every
    token stay as far as the longest span looks: it saves FLOPs, not cache.  A span that is named twice is a route that
    is taken twice as often by the routers that read positions: `routed(256|256|full, router=periodic)`.

    Relatives: All-or-Here (2512.22562), L2A (2603.17484), SwiAttn (2603.26380).  Choosing the top k tokens of a
    sequence, as in Mixture-of-Depths, is not causal and not here.

    Counts are exact for `periodic` and `random`; for the routers that read tokens they assume that routes take turns.
    """

    name = "routed"
    example = "routed(5|full, sinks=2, router=periodic)"

    spans: tuple[int, ...]
    sinks: int = 4
    per: str = "layer"
    router: Router = Linear()

    def __post_init__(self) -> None:
        if not self.spans or any(not 1 <= span <= UNBOUNDED for span in self.spans):
            raise ValueError(
                f"routed: each span must be at least 1 key (the query's own), got {spelling(self.spans) or 'none'}"
            )
        if self.sinks < 0:
            raise ValueError(f"routed: sinks must be at least 0 keys, got {self.sinks}")
        if self.per not in get_args(Per):
            raise ValueError(f"routed: {unknown('per', self.per, get_args(Per))}")
        if not isinstance(self.router, Router):
            raise ValueError(
                f"routed: router is a router such as Periodic(), got {self.router!r}; "
                "attention.make('routed', router=...) takes its name"
            )

    def pattern(self) -> SpanPattern:
        return SpanPattern((max(self.spans),), (self.sinks,))

    def routes_of(self, heads: Heads) -> Routes:
        """What the router is asked for: as many routes as there are spans, for as many units as `per` says."""
        return Routes(len(self.spans), {"layer": 1, "group": heads.n_kv_heads, "head": heads.n_heads}[self.per])

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        return self.router.params(heads, self.routes_of(heads))

    def routes(self, layer: LayerInput) -> jax.Array:
        """The route of each of a step's tokens, an index into `spans`: int32 [B or 1, M, T], M units."""
        return route(self.router, self.routes_of(heads_of(layer)), layer)

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        span_bmt = jnp.asarray(self.spans, jnp.int32)[self.routes(layer)]
        spans = Spans(span_bmt, jnp.asarray([self.sinks], jnp.int32), np.unique(self.spans).astype(np.int32))
        return attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt, layer.kv_pos_bks, spans)

    # ---------------------------------------------------------------------------------------------------- the cost

    @property
    def assumption(self) -> str:
        return "routes take turns" if self.router.reads_tokens else ""

    def differs_by_depth(self, n_layers: int) -> bool:
        return self.router.differs_by_depth and n_layers > 1

    def outline(self, heads: Heads, tokens: int) -> Outline:
        """In layer 0."""
        routes_mt = self.router.at_positions(self.routes_of(heads), np.arange(tokens), np.asarray(0), np)
        spans = (of_spans(span_t, self.sinks) for span_t in np.array(self.spans)[routes_mt])
        return Outline(tuple(spans), exact=not self.assumption)

    def looked_up(self, tokens: int) -> int:
        return tokens * self.router.differs_by_depth

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """A query at position p sees min(p + 1, span + sinks) keys."""
        routes = self.routes_of(heads)
        keys = self._keys(routes, start + tokens, depth) - self._keys(routes, start, depth)
        return Cost(keys * heads.n_heads // routes.units, self.router.flops(heads, routes, tokens))

    @property
    def _takes_turns(self) -> bool:
        """Whether routes do, as far as counts know."""
        return type(self.router).at_positions is Router.at_positions

    def _keys(self, routes: Routes, n: int, depth: Depth) -> int:
        """Keys that the first n queries see in all units: turns have a formula, other routes are looked up."""
        return self._keys_in_turn(routes, n) if self._takes_turns else _keys_looked_up(self, routes, n, depth.layer)

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        routes = self.routes_of(heads)
        q_pos_t, kv_pos_s = step_positions(self.pattern(), tokens, start, capacity or start + tokens)
        span_mt = np.array(self.spans)[self.router.at_positions(routes, q_pos_t, np.asarray(depth.layer), np)]
        pairs = executed_pairs(Spans(span_mt[None], np.array([self.sinks])), heads, q_pos_t, kv_pos_s, impl)
        return Cost(pairs, self.router.flops(heads, routes, tokens))

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        routes = self.routes_of(heads)
        keys_t = _keys_by_position(self, routes, start, start + tokens, depth.layer).sum(0)
        return 4 * heads.head_dim * heads.n_heads // routes.units * keys_t + self.router.flops(heads, routes, 1)

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth | None:
        """In turns, each route is off its share by what two of its queries see, at most."""
        bounded = [most for most in self.most_keys.tolist() if most < UNBOUNDED]
        unbounded = len(self.spans) - len(bounded)
        flops, settled = 4 * heads.head_dim * heads.n_heads, max([1, *bounded])
        if len(set(self.spans)) == 1:
            return Growth(settled)
        if self._takes_turns:
            return Growth(settled, len(self.spans), 4 * flops * sum(bounded), 4 * flops * unbounded)
        if not self.router.draws_lots:
            return None
        routes, share = self.routes_of(heads), Fraction(flops, len(self.spans))
        constant = -share * sum(most * (most - 1) for most in bounded) / 2
        per_token = share * (sum(bounded) + Fraction(unbounded, 2)) + self.router.flops(heads, routes, 1)
        widest = 1 if unbounded else max(bounded) - min(bounded)  # half of it is the widest standard deviation
        error = widest / 2 * flops / math.sqrt(routes.units)
        lot = Lot((constant, per_token, share * unbounded / 2), error, 1.5 if unbounded else 0.5)
        return Growth(settled, None, lot=lot)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        """The mean over the routes."""
        if UNBOUNDED in self.spans:
            return None
        keys = Fraction(int(self.most_keys.sum()), len(self.spans))
        return 4 * heads.head_dim * heads.n_heads * keys + self.router.flops(heads, self.routes_of(heads), 1)

    @property
    def most_keys(self) -> np.ndarray:
        """Keys that a query sees far into the prompt, for each route: int64 [E]."""
        return np.array(self.spans, np.int64) + self.sinks

    def _keys_in_turn(self, routes: Routes, n: int) -> int:
        """Sums of min(x, span + sinks) over x = first, first + E, …"""
        e, total = routes.n_routes, 0
        for unit in range(routes.units):
            for number, most in enumerate(self.most_keys.tolist()):
                first = (number - unit) % e + 1
                queries = max(0, -(-(n + 1 - first) // e))
                growing = min(max(0, (most - first) // e + 1), queries)
                total += growing * first + e * growing * (growing - 1) // 2 + most * (queries - growing)
        return total


STRETCH: Final = 4096
"""Positions between two sums that are kept: a search asks for many lengths, and each position costs a hash."""


def _keys_looked_up(variant: Routed, routes: Routes, n: int, layer: int) -> int:
    """Keys that the first n queries see in all units of one layer, each route asked for."""
    stretches, rest = divmod(n, STRETCH)
    most = 1 << max(0, stretches - 1).bit_length()
    kept = _keys_of_stretches(variant, routes, most, layer) if stretches else (0,)
    return int(kept[stretches]) + int(_keys_by_position(variant, routes, n - rest, n, layer).sum())


@functools.cache
def _keys_of_stretches(variant: Routed, routes: Routes, stretches: int, layer: int) -> np.ndarray:
    """The sums up to each multiple of `STRETCH`; `stretches` is a power of two."""
    half = stretches // 2
    before = _keys_of_stretches(variant, routes, half, layer) if half else np.zeros(1, np.int64)
    ends = [(i * STRETCH, (i + 1) * STRETCH) for i in range(half, stretches)]
    sums = [_keys_by_position(variant, routes, *end, layer).sum() for end in ends]
    return np.concatenate([before, before[-1] + np.cumsum(sums)])


def _keys_by_position(variant: Routed, routes: Routes, start: int, end: int, layer: int) -> np.ndarray:
    """Keys that each query from `start` up to `end` sees, [M, T]."""
    position = np.arange(start, end)
    route_mt = variant.router.at_positions(routes, position, np.asarray(layer), np)
    return np.minimum(position + 1, variant.most_keys[route_mt])


def heads_of(layer: LayerInput) -> Heads:
    """The sizes that a layer's operands have."""
    n_kv_heads, head_dim = layer.k_bskh.shape[2:]
    return Heads(layer.q_btnh.shape[2], n_kv_heads, head_dim, layer.x_btd.shape[2])


class RouteStatistics(NamedTuple):
    """How tokens were routed: share of tokens per unit and route [M, E], and mean keys that a query saw."""

    share_me: Array
    mean_keys: Array


def route_statistics(variant: Routed, route_bmt: Array, q_pos_bt: Array) -> RouteStatistics:
    """Of `Routed.routes` of one layer; padding (position -1) does not count."""
    is_token = jnp.broadcast_to(q_pos_bt[:, None] >= 0, route_bmt.shape)
    taken_bmte = (route_bmt[..., None] == jnp.arange(len(variant.spans))) & is_token[..., None]
    share_me = taken_bmte.sum((0, 2)) / is_token.sum((0, 2))[:, None]
    most_e = jnp.asarray(np.minimum(variant.most_keys, UNBOUNDED), jnp.int32)
    keys_bmt = jnp.minimum(q_pos_bt[:, None] + 1, most_e[route_bmt])
    return RouteStatistics(share_me, keys_bmt.sum(where=is_token) / is_token.sum())
