"""Eviction written from the papers in plain NumPy, float64: one token, one head, one key at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.base import Eviction


@dataclass(frozen=True)
class Scene:
    """What a score may look at when an event comes, for one row.

    q_tnh, k_tkh, v_tkh: of all tokens so far; held_k: positions held per key-value head, ascending; probs_tn:
    per token and head, {position: probability}; recent: of the policy; chunk_start: first token since the last
    multiple of the chunk.
    """

    q_tnh: np.ndarray
    k_tkh: np.ndarray
    v_tkh: np.ndarray
    held_k: list[list[int]]
    probs_tn: list[list[dict[int, float]]]
    sinks: int
    recent: int
    chunk_start: int
    theta: float

    @property
    def length(self) -> int:
        return len(self.q_tnh)

    @property
    def group(self) -> int:
        return self.q_tnh.shape[1] // self.k_tkh.shape[1]

    def heads(self, k: int) -> range:
        return range(k * self.group, (k + 1) * self.group)

    def keys(self, k: int) -> np.ndarray:
        return self.k_tkh[self.held_k[k], k]

    def values(self, k: int) -> np.ndarray:
        return self.v_tkh[self.held_k[k], k]

    def looked(self, k: int, token: int, head: int) -> np.ndarray:
        """Probability of one query over what head k holds now."""
        return np.array([self.probs_tn[token][head].get(j, 0.0) for j in self.held_k[k]])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def streaming(s: Scene, k: int) -> np.ndarray:
    return np.array(s.held_k[k], float)


def knorm(s: Scene, k: int) -> np.ndarray:
    return np.array([-np.sqrt((key**2).sum()) for key in s.keys(k)])


def keydiff(s: Scene, k: int) -> np.ndarray:
    unit = np.array([key / np.linalg.norm(key) for key in s.keys(k)])
    anchor = unit.sum(0) / len(unit)
    return np.array([-(key @ anchor) / (np.linalg.norm(key) * np.linalg.norm(anchor)) for key in s.keys(k)])


def tova(s: Scene, k: int) -> np.ndarray:
    heads = range(s.q_tnh.shape[1])
    return np.mean([s.looked(k, s.length - 1, n) for n in heads], axis=0)


def h2o(s: Scene, k: int) -> np.ndarray:
    return np.sum([s.looked(k, t, n) for t in range(s.length) for n in s.heads(k)], axis=0)


def snapkv(s: Scene, k: int) -> np.ndarray:
    window = range(s.length - s.recent, s.length)
    n_earlier = sum(j < window[0] for j in s.held_k[k])
    out = np.zeros(len(s.held_k[k]))
    for n in s.heads(k):
        mean = np.mean([s.looked(k, t, n) for t in window], axis=0)[:n_earlier]
        padded = np.concatenate([[0, 0], mean, [0, 0]])
        for j in range(n_earlier):
            out[j] += padded[j : j + 5].sum() / 5 / s.group
    return out


def lagkv(s: Scene, k: int) -> np.ndarray:
    held, lag = len(s.held_k[k]), s.recent
    parts = (held - s.sinks) // lag
    if parts < 2:
        return np.arange(held, dtype=float)
    out = np.full(held, np.inf)
    for part in range(parts - 1):
        own = slice(s.sinks + part * lag, s.sinks + (part + 1) * lag)
        after = slice(own.stop, own.stop + lag)
        scores = 0
        for x in (s.keys(k), s.values(k)):
            low, high = x[after].min(0), x[after].max(0)
            scores = scores + softmax(((x[own] - low) / (high - low)).std(axis=1, ddof=1)) / 2
        for rank, j in enumerate(np.argsort(scores, kind="stable")):
            out[own.start + j] = rank / lag
    return out


def rotation(position: float, h: int, theta: float) -> np.ndarray:
    """The rotary matrix of one position, half-split."""
    out = np.zeros((h, h))
    for i in range(h // 2):
        angle = position * theta ** (-2 * i / h)
        out[i, i] = out[i + h // 2, i + h // 2] = np.cos(angle)
        out[i + h // 2, i] = np.sin(angle)
        out[i, i + h // 2] = -np.sin(angle)
    return out


def expected_attention(s: Scene, k: int) -> np.ndarray:
    h = s.q_tnh.shape[-1]
    mean_rotation = np.mean([rotation(s.length + f, h, s.theta) for f in range(512)], axis=0)
    tokens = [t for t in range(s.chunk_start, s.length) if t >= s.sinks]
    scored = np.array(s.held_k[k]) >= s.sinks
    out = np.zeros(len(scored))
    for n in s.heads(k):
        before = np.array([rotation(t, h, s.theta).T @ s.q_tnh[t, n] for t in tokens])
        mean = before.mean(0)
        covariance = (before - mean).T @ (before - mean) / len(before)
        mean, covariance = mean_rotation @ mean, mean_rotation @ covariance @ mean_rotation.T
        logits = np.array([key @ mean / np.sqrt(h) + key @ covariance @ key / (2 * h) for key in s.keys(k)[scored]])
        out[scored] += softmax(logits) / s.group
    return out * np.linalg.norm(s.values(k), axis=-1)


SCORES: dict[str, Callable[[Scene, int], np.ndarray]] = {
    "streaming": streaming,
    "knorm": knorm,
    "keydiff": keydiff,
    "tova": tova,
    "h2o": h2o,
    "snapkv": snapkv,
    "pyramidkv": snapkv,
    "adakv": snapkv,
    "lagkv": lagkv,
    "expected_attention": expected_attention,
}


def best(scores: np.ndarray, n: int) -> list[int]:
    """Places of the n highest; the first of equals."""
    return sorted(sorted(range(len(scores)), key=lambda j: (-scores[j], j))[:n])


def pyramid_budget(budget: int, reserved: int, layer: int, n_layers: int, prompt: float = np.inf) -> int:
    """What always stays, and of the rest from (2 - 1/20) of the mean in layer 0 down to 1/20 in the last.

    Where one event chooses of a prompt, no layer keeps more than that, and the last gets what the first leaves.
    """
    if n_layers == 1:
        return budget
    last = max(1 - reserved, (budget - reserved) // 20)
    first = 2 * (budget - reserved) - last
    if first >= prompt - reserved:
        first = int(prompt) - reserved
        last = 2 * (budget - reserved) - first
    return reserved + int(np.ceil(first - (first - last) * layer / (n_layers - 1) - 1e-9))


def budget_of(eviction: Eviction, layer: int, n_layers: int, length: int) -> int:
    """Keys of the mean head that an event at this length leaves."""
    if eviction.policy.name != "pyramidkv":
        return eviction.budget
    prompt = length if isinstance(eviction, EvictAfter) else np.inf
    return pyramid_budget(eviction.budget, eviction.sinks + eviction.retention.recent, layer, n_layers, prompt)


def retain(eviction: Eviction, scene: Scene, layer: int, n_layers: int) -> list[list[int]]:
    """Positions that stay in each key-value head."""
    heads, budget = range(len(scene.held_k)), budget_of(eviction, layer, n_layers, scene.length)
    scores = []
    for k in heads:
        score, held = SCORES[eviction.policy.name](scene, k), np.array(scene.held_k[k])
        always = held < scene.sinks
        if eviction.policy.name != "lagkv":  # its tail has no score but infinity already
            always |= held >= scene.length - scene.recent
        scores.append(np.where(always, np.inf, score))
    if eviction.policy.name == "adakv":
        flat = []
        for k in heads:
            order = sorted(range(len(scores[k])), key=lambda j: (-scores[k][j], j))
            for rank, j in enumerate(order[: 2 * budget]):
                score = np.inf if rank < max(1, int(0.2 * budget)) else scores[k][j]
                flat.append((-score, k, rank, scene.held_k[k][j]))
        chosen = sorted(flat)[: budget * len(scores)]
        return [sorted(j for _, of, _, j in chosen if of == k) for k in heads]
    return [[scene.held_k[k][j] for j in best(scores[k], budget)] for k in heads]


def simulate(
    eviction: Eviction, q_tnh, k_tkh, v_tkh, *, layer: int = 0, n_layers: int = 1, theta: float = 10_000.0,
    prompt: int | None = None,
) -> tuple[np.ndarray, list[list[int]]]:  # fmt: skip
    """One row, token by token: its outputs [T, N, H], and what each key-value head holds in the end.

    `prompt` is the length at which `evict_after` acts; all tokens where it is left out.
    """
    prompt = prompt or len(q_tnh)
    t_total, n_heads, h = q_tnh.shape
    n_kv_heads = k_tkh.shape[1]
    chunk = eviction.chunk if isinstance(eviction, Evict) else prompt
    held: list[list[int]] = [[] for _ in range(n_kv_heads)]
    probs: list[list[dict[int, float]]] = []
    out = np.zeros((t_total, n_heads, v_tkh.shape[-1]))
    for t in range(t_total):
        for one in held:
            one.append(t)
        probs.append([])
        for n in range(n_heads):
            k = n // (n_heads // n_kv_heads)
            p = softmax(k_tkh[held[k], k] @ q_tnh[t, n] / np.sqrt(h))
            out[t, n] = p @ v_tkh[held[k], k]
            probs[t].append(dict(zip(held[k], p, strict=True)))
        comes = (t + 1) % chunk == 0 if isinstance(eviction, Evict) else t + 1 == prompt
        if comes and sum(map(len, held)) > budget_of(eviction, layer, n_layers, t + 1) * n_kv_heads:
            scene = Scene(
                q_tnh[: t + 1], k_tkh[: t + 1], v_tkh[: t + 1], held, probs, eviction.sinks, eviction.retention.recent,
                t + 1 - chunk, theta,
            )  # fmt: skip
            held = retain(eviction, scene, layer, n_layers)
    assert isinstance(eviction, Evict | EvictAfter)
    return out, held
