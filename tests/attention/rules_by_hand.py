"""What block rules are defined to choose, query by query in float64: logits, probabilities, choices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attention.block_ruled import BlocksByRule
from attention.block_rules import BlockRule, CausalAntidiagonal
from attention.variant import LayerInput


def probability(logit_c: np.ndarray) -> np.ndarray:
    """A softmax."""
    weight_c = np.exp(logit_c - logit_c.max())
    return weight_c / weight_c.sum()


def shares(rule: BlockRule, block: int, q_h: np.ndarray, k_sh: np.ndarray, place: int) -> np.ndarray:
    """Of one query at `place` and the keys of the whole blocks before its own: the probability of each block."""
    keys, size = np.arange(len(k_sh)), len(q_h) ** 0.5
    if isinstance(rule, CausalAntidiagonal):
        keys = keys[(place + keys) % rule.stride == rule.stride - 1]
        return np.bincount(keys // block, probability(k_sh[keys] @ q_h / size))
    return probability(k_sh.reshape(-1, block, len(q_h)).mean(1) @ q_h / size)


def ruled_blocks(
    variant: BlocksByRule, q_btnh: np.ndarray, k_bskh: np.ndarray, position_t: np.ndarray
) -> Iterator[tuple[tuple[int, int, int], list[int]]]:
    """The blocks that each (row, key-value head, query) reads: its own, sinks and window in order, then the best."""
    (rows, queries, n, _), k = q_btnh.shape, k_bskh.shape[2]
    rule, block = variant.rule, variant.block
    for b, g, t in np.ndindex(rows, k, queries):
        own = int(position_t[t]) // block
        always = [c for c in range(own) if c < rule.sinks or c > own - rule.window]
        k_sh, heads = k_bskh[b, : own * block, g], range(g * (n // k), (g + 1) * (n // k))
        score_c = np.zeros(own)
        for head in heads if own else ():
            score_c += shares(rule, block, q_btnh[b, t, head], k_sh, int(position_t[t]))
        best = [c for c in np.argsort(-score_c, kind="stable").tolist() if c not in always]
        yield (b, g, t), [own, *always, *best][: variant.topk]


def ruled_mask(variant: BlocksByRule, layer: LayerInput) -> np.ndarray:
    """Who sees whom in a whole prompt, [B, N, T, S]."""
    q, k = (np.asarray(x, np.float64) for x in (layer.q_btnh, layer.k_bskh))
    (b, t, n, _), groups, place = q.shape, k.shape[2], np.arange(q.shape[1])
    mask = np.zeros((b, n, t, t), bool)
    for (row, g, query), blocks in ruled_blocks(variant, q, k, place):
        heads = slice(g * (n // groups), (g + 1) * (n // groups))
        mask[row, heads, query] = np.isin(place // variant.block, blocks) & (place <= query)
    return mask
