"""What an index computes, in float64 and from the definitions: norms, rotary positions, scores and choices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attention.block_indexed import BlockIndexed
from attention.pooled_indexed import PooledIndexed
from attention.token_indexed import TokenIndexed
from attention.variant import LayerInput


def normed(x: np.ndarray, scale_d: np.ndarray) -> np.ndarray:
    """RMSNorm over the last axis."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale_d


def turned(x_btmh: np.ndarray, pos_bt: np.ndarray, rotated: int, theta: float = 10_000.0) -> np.ndarray:
    """The first `rotated` dimensions of each head, or all, in pairs (i, i + half) by position · theta^(-2i/rotated)."""
    half = min(rotated, x_btmh.shape[-1]) // 2
    angle = pos_bt[..., None, None] * theta ** (-2 * np.arange(half) / rotated)
    first, second, rest = np.split(x_btmh, (half, 2 * half), axis=-1)
    pair = first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)
    return np.concatenate([*pair, rest], axis=-1)


def layer_normed(x: np.ndarray, scale_d: np.ndarray, bias_d: np.ndarray) -> np.ndarray:
    """LayerNorm over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * scale_d + bias_d


def best_first(score: np.ndarray) -> np.ndarray:
    """Places by falling score, the earlier of equals first."""
    return np.argsort(-score, kind="stable")


def msa_blocks(
    variant: BlockIndexed, q_btgd: np.ndarray, k_bsd: np.ndarray, position_t: np.ndarray
) -> Iterator[tuple[tuple[int, int, int], list[int]]]:
    """The blocks that each (row, group, query) reads, its own first."""
    for b, g, t in np.ndindex(q_btgd.shape[0], q_btgd.shape[2], q_btgd.shape[1]):
        own = int(position_t[t]) // variant.block
        product_s = k_bsd[b, : own * variant.block] @ q_btgd[b, t, g]
        best = best_first(product_s.reshape(own, variant.block).max(1))[: variant.topk - 1]
        yield (b, g, t), [own, *best.tolist()]


def msa_mask(variant: BlockIndexed, layer: LayerInput) -> np.ndarray:
    """Who sees whom in a whole prompt, [B, N, T, S]; all dimensions of its heads are turned."""
    (b, t, n, h), k = layer.q_btnh.shape, layer.k_bskh.shape[2]
    x, dim, place = np.asarray(layer.x_btd, np.float64), variant.dim, np.arange(t)
    params = {name: np.asarray(one, np.float64) for name, one in layer.params.items()}
    q = normed((x @ params[f"index_q_{k}x{dim}"]).reshape(b, t, k, dim), params[f"index_q_norm_{dim}"])
    key = normed((x @ params[f"index_k_{dim}"]).reshape(b, t, 1, dim), params[f"index_k_norm_{dim}"])
    q, key = (turned(one, place[None], h) for one in (q, key))
    mask = np.zeros((b, n, t, t), bool)
    for (row, g, query), blocks in msa_blocks(variant, q, key[:, :, 0], place):
        heads = slice(g * (n // k), (g + 1) * (n // k))
        mask[row, heads, query] = np.isin(place // variant.block, blocks) & (place <= query)
    return mask


def dsa_mask(variant: TokenIndexed, layer: LayerInput) -> np.ndarray:
    """The same; one choice for all heads."""
    (b, t, n, h), dim, heads = layer.q_btnh.shape, variant.dim, variant.heads
    x, place = np.asarray(layer.x_btd, np.float64), np.arange(t)
    params = {name: np.asarray(one, np.float64) for name, one in layer.params.items()}
    q = turned((x @ params[f"index_q_{heads}x{dim}"]).reshape(b, t, heads, dim), place[None], h)
    norm = params[f"index_k_norm_{dim}"], params[f"index_k_bias_{dim}"]
    key = turned(layer_normed(x @ params[f"index_k_{dim}"], *norm)[:, :, None], place[None], h)[:, :, 0]
    weight = x @ params[f"index_weight_{heads}"] / heads**0.5
    mask = np.zeros((b, n, t, t), bool)
    for row, query in np.ndindex(b, t):
        products = np.maximum(key[row, : query + 1] @ q[row, query].T / dim**0.5, 0)
        mask[row, :, query, best_first(products @ weight[row, query])[: variant.k]] = True
    return mask


def qsa_mask(variant: PooledIndexed, layer: LayerInput) -> np.ndarray:
    """The same, of whole groups and what is behind them."""
    (b, t, n, h), dim, heads, pool = layer.q_btnh.shape, variant.dim, variant.heads, variant.pool
    x, groups = np.asarray(layer.x_btd, np.float64), t // pool
    params = {name: np.asarray(one, np.float64) for name, one in layer.params.items()}
    q = normed((x @ params[f"index_q_{heads}x{dim}"]).reshape(b, t, heads, dim), params[f"index_q_norm_{dim}"])
    q = turned(q, np.arange(t)[None], h)
    mean = (x @ params[f"index_k_{dim}"])[:, : groups * pool].reshape(b, groups, pool, dim).mean(2)
    first = pool * np.arange(groups)
    key = turned(normed(mean, params[f"index_k_norm_{dim}"])[:, :, None], first[None], h)[:, :, 0]
    mask = np.zeros((b, n, t, t), bool)
    for row, query in np.ndindex(b, t):
        whole = (query + 1) // pool
        score = np.maximum(key[row, :whole] @ q[row, query].T / dim**0.5, 0).sum(1)
        for group in best_first(score)[: variant.budget // pool]:
            mask[row, :, query, group * pool : (group + 1) * pool] = True
        mask[row, :, query, whole * pool : query + 1] = True
    return mask
