"""Layouts drawn by a number, and what prompts ask for under them, counted token by token from what variants promise."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np

from attention.block_indexed import BlockIndexed
from attention.block_routed import BlockRouted
from attention.block_ruled import BlocksByRule
from attention.cost import Depth, Heads
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.registry import POLICIES
from attention.layout import parse_variant
from attention.mixer import Mixer
from attention.pooled_indexed import PooledIndexed
from attention.token_indexed import TokenIndexed
from attention.token_routed import Routed
from refmodel.presets import preset
from refmodel.specification import ModelConfig

SHAPES: Final = (
    "tiny-dense", "tiny-moe", "smollm2-135m", "gemma3-1b", "llama3-8b", "qwen3-30b-a3b",
    "tiny-hybrid", "qwen3.5-35b-a3b", "gpt-oss-20b", "laguna-xs.2", "gemma4-26b-a4b",
)  # fmt: skip
"""Six whose layers are alike; hybrids, and models whose layers differ in heads, in size of heads or in linear FLOPs."""
Counts = tuple[np.ndarray, np.ndarray | int]
"""Of prompts of 1, 2, ... tokens: visible pairs of all query heads, and FLOPs of what chose them."""


class Draw(random.Random):
    """Sizes are as often small as large."""

    def size(self, most: int) -> int:
        return round(most ** self.random())

    def models(self) -> tuple[ModelConfig, ModelConfig]:
        """A shape with two layouts of up to four variants, half of the time of such as see a bounded number of keys."""
        model = preset(self.choice(SHAPES))
        per_head = set.intersection(*({1, one.heads.n_kv_heads, one.heads.n_heads} for one in model.layers))
        one_of = self.bounded if self.random() < 0.5 else lambda: self.any(sorted(per_head))
        few = [parse_variant(one_of()) for _ in range(self.randint(2, 4))]
        if self.random() < 0.5:  # of a hybrid
            few.extend({mixer for mixer in model.layout if mixer.component == "linear_attention"})
        one, other = (model.with_layout(self.mixers(model, few)) for _ in range(2))
        return one, other

    def mixers(self, model: ModelConfig, few: list[Mixer]) -> list[Mixer]:
        """One of `few` for each layer: of a hybrid, where none of them is recurrent, for those that attend."""
        mixers = [self.choice(few) for _ in model.layout]
        names_delta = any(mixer.component == "linear_attention" for mixer in mixers)
        return mixers if names_delta else mixers[: sum(layer.attends for layer in model.layers)]

    def bounded(self) -> str:
        return self.choice([
            f"swa({self.size(9000)}, sinks={self.choice([0, self.size(300)])})", f"moba({self.size(3000)}, topk=1)",
            f"routed({self.size(9000)}|{self.size(9000)}, router={self.choice(['periodic', 'linear', 'random'])})",
            *[f"evict({self.policy()}, chunk={self.size(9000) + 8})"] * 6,
        ])  # fmt: skip

    def any(self, numbers_of_rules: Sequence[int]) -> str:
        rules = "|".join(self.rule() for _ in range(self.choice(numbers_of_rules)))
        spans = "|".join(self.choice(["full", str(self.size(9000))]) for _ in range(self.randint(2, 3)))
        stride = self.size(16)
        per, pool = self.choice(["layer", "group", "head"]), self.size(20)
        return self.choice([
            "full", f"spans({rules}, sinks={self.size(300)})", f"moba({self.size(3000)}, topk={self.randint(2, 4)})",
            f"blocks(block={self.size(3000)}, topk={self.randint(7, 9)}, mean={self.choice(['true', 'false'])})",
            f"blocks(causal_antidiagonal, {self.size(200) * stride}, topk={self.randint(3, 9)}, stride={stride})",
            f"msa({self.size(3000)}, topk={self.randint(2, 4)}, dim={2 * self.size(64)})",
            f"dsa({self.size(9000)}, heads={self.randint(1, 9)}, dim={2 * self.size(64)})",
            f"qsa({self.size(2000) * pool}, pool={pool}, heads={self.randint(1, 9)}, dim={2 * self.size(64)})",
            f"routed({spans}, per={per}, router={self.choice(['periodic', 'linear'])})",
            f"routed({spans}, sinks={self.size(300)}, router=random, seed={self.randint(0, 9)})",
            f"evict_after({self.policy()})", self.bounded(), self.bounded(),
        ])  # fmt: skip

    def rule(self) -> str:
        return self.choice([str(self.size(9000)), f"{self.size(500)}+{self.randint(1, 700) / 1000}N", "full"])

    def policy(self) -> str:
        name = self.choice(sorted(POLICIES))
        return f"{name}, budget={self.size(9000) + 8}, sinks=0, recent={POLICIES[name].least_recent}"

    def attention_cost(self, flops_n: np.ndarray, per_token: int) -> Fraction:
        """At which attention costs what the linear layers do at some length, nearly: it crosses there by design."""
        n = self.size(flops_n.size)
        near = Fraction(per_token * n, max(int(flops_n[n - 1]), 1)).limit_denominator(10 ** self.randint(1, 6))
        return near or Fraction(1)


def prompt_flops(model: ModelConfig, longest: int) -> np.ndarray:
    """Useful attention FLOPs of prompts of 1..longest tokens, all layers."""
    n_layers, total = len(model.layers), np.zeros(longest, np.int64)
    layers = Counter(
        (mixer, layer.heads, Depth(depth if "pyramidkv" in str(mixer) or "random" in str(mixer) else 0, n_layers))
        for depth, layer in enumerate(model.layers)
        if (mixer := layer.mixer) and layer.attends
    )
    for (mixer, heads, depth), times in layers.items():
        count = {
            "routed": _routed,
            "moba": _moba,
            "blocks": _blocks,
            "msa": _msa,
            "dsa": _dsa,
            "qsa": _qsa,
            "evict": _evict,
            "evict_after": _evict_after,
        }.get(mixer.name, _spans)
        count = _share_in_chunks if isinstance(mixer, Evict) and mixer.share else count
        pairs_n, chosen_n = count(mixer, heads, depth, np.arange(longest))
        total += times * (4 * heads.head_dim * pairs_n + chosen_n)
    return total


def _spans(mixer: Mixer, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    """All but the keys between sinks and span: so many of the last query, one fewer of the one before it ..."""
    rules, sinks, n = getattr(mixer, "rules", (None,)), getattr(mixer, "sinks", 0), t + 1
    pairs = np.zeros_like(t)
    for rule in rules:
        if rule is None:
            span = getattr(mixer, "window", t.size)
        else:
            span = rule.keys + n * rule.share.numerator // rule.share.denominator
        hidden = np.maximum(n - span - sinks, 0)
        pairs += np.cumsum(n) - np.cumsum(np.append(0, n))[hidden]
    return pairs * (heads.n_heads // len(rules)), 0


def _routed(mixer: Routed, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    routes = mixer.routes_of(heads)
    route_mt = mixer.router.at_positions(routes, t, np.asarray(depth.layer))
    keys_mt = t + 1 - np.maximum(t + 1 - np.array(mixer.spans)[route_mt] - mixer.sinks, 0)
    pairs = np.cumsum(keys_mt.sum(0)) * (heads.n_heads // routes.units)
    return pairs, mixer.router.flops(heads, routes, 1) * (t + 1)


def _moba(mixer: BlockRouted, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    block = t // mixer.block
    keys = t - block * mixer.block + 1 + np.minimum(block, mixer.topk - 1) * mixer.block
    gates = np.cumsum(block if mixer.topk > 1 else 0 * block)
    return np.cumsum(keys) * heads.n_heads, 2 * heads.head_dim * heads.n_heads * gates


def _blocks(mixer: BlocksByRule, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    """Beyond the first blocks, a product for each key that stands for a block before a query's own; two for a mean."""
    pairs, _ = _moba(BlockRouted(mixer.block, mixer.topk), heads, depth, t)
    stride, before = getattr(mixer.rule, "stride", mixer.block), t // mixer.block
    scored = (before >= mixer.topk) * before * (mixer.block // stride)
    left = 2 * mixer.mean * np.maximum(before - (mixer.topk - 1), 0)
    return pairs, 2 * heads.head_dim * heads.n_heads * np.cumsum(scored + left)


def _msa(mixer: BlockIndexed, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    """The index is asked beyond the first blocks, about each key before a query's own."""
    pairs, _ = _moba(BlockRouted(mixer.block, mixer.topk), heads, depth, t)
    before = t // mixer.block * mixer.block
    asked = (before >= mixer.topk * mixer.block) * heads.n_kv_heads * (heads.d_model + before)
    return pairs, 2 * mixer.dim * np.cumsum(heads.d_model + asked)


def _dsa(mixer: TokenIndexed, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    """The index is asked from query k on, about each key up to the query's own; its heads have weights."""
    asked = (t >= mixer.k) * mixer.heads * (heads.d_model * (mixer.dim + 1) + mixer.dim * (t + 1))
    pairs = np.cumsum(np.minimum(t + 1, mixer.k)) * heads.n_heads
    return pairs, 2 * np.cumsum(heads.d_model * mixer.dim + asked)


def _qsa(mixer: PooledIndexed, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    """The index is asked from one whole group more than may be chosen on, about each of them."""
    whole, most = (t + 1) // mixer.pool, mixer.budget // mixer.pool
    keys = np.minimum(whole, most) * mixer.pool + (t + 1) % mixer.pool
    asked = (whole > most) * mixer.heads * (heads.d_model + whole)
    return np.cumsum(keys) * heads.n_heads, 2 * mixer.dim * np.cumsum(heads.d_model + asked)


def _evict(mixer: Evict, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    """Chunk by chunk: what is cached, and what an event leaves of it."""
    cached, keys, scores = 0, [], []
    budget, own = mixer.layer_budget(depth), np.arange(1, mixer.chunk + 1)
    for start in range(0, t.size, mixer.chunk):
        keys.append(cached + own)
        event, cached = start + mixer.chunk > budget, cached + mixer.chunk
        scores += [0] * (mixer.chunk - 1) + [event * _scored(mixer, heads, cached)]
        cached = min(cached, budget) if event else cached
    pairs = np.cumsum(np.concatenate(keys)[: t.size]) * heads.n_heads
    return pairs, np.cumsum(scores[: t.size]) + _watched(mixer, heads, t + 1, pairs)


def _share_in_chunks(mixer: Evict, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    """Each prompt's last token of the count that its own budget gives."""
    ends = [[x[-1] for x in _evict(mixer.at_length(n), heads, depth, np.arange(n))] for n in (t + 1).tolist()]
    pairs_n, chosen_n = np.array(ends).T
    return pairs_n, chosen_n


def _scored(mixer: Evict | EvictAfter, heads: Heads, keys: Any) -> Any:
    """What an event that finds so many keys costs: a product for each query of the window and key that it sees."""
    policy = mixer.policy
    if window := policy.window(mixer.retention):
        seen = sum(np.maximum(keys - newer, 0) for newer in range(window))
        return 2 * heads.head_dim * heads.n_heads * seen
    return policy.score_flops(heads, keys, mixer.retention)


def _watched(mixer: Evict | EvictAfter, heads: Heads, queries: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """What a policy's memory costs: h2o's a product for every pair, expected attention's an H x H matrix a query."""
    if mixer.policy.name == "h2o":
        return 2 * heads.head_dim * pairs
    return 2 * heads.n_heads * heads.head_dim**2 * queries * (mixer.policy.name == "expected_attention")


def _evict_after(mixer: EvictAfter, heads: Heads, depth: Depth, t: np.ndarray) -> Counts:
    lengths, pairs = (t + 1).tolist(), np.cumsum(t + 1) * heads.n_heads
    events, known = np.array([n > mixer.at_length(n).layer_budget(depth, n) for n in lengths]), mixer.at_length(1)
    return pairs, events * (_scored(known, heads, t + 1) + _watched(mixer, heads, t + 1, pairs))


def changes(above_n: np.ndarray) -> list[int]:
    """The lengths, from 1, at which it begins or ends."""
    return (1 + np.flatnonzero(np.diff(above_n, prepend=False))).tolist()


def up_to(at: tuple[int, ...], every: int | None, longest: int) -> list[int]:
    """The changes up to `longest`, those of the last period again and again."""
    last = [n for n in at if every and n > at[-1] - every]
    recurring = (n + i * every for i in itertools.count(1) for n in last) if every else iter(())
    return [n for n in (*at, *itertools.takewhile(lambda n: n <= longest, recurring)) if n <= longest]
