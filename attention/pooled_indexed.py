"""Qwen Sparse Attention: an index chooses groups of a few keys by one pooled key each (transformers 5.24, `qwen4_exp`).

pool=2, budget=2, a query whose index liked the first group best, and at position 4 the second:

    key   0 1 2 3 4 5
    q 2   x x x         the last group is not whole: it is read
    q 3   x x
    q 4       x x x
    q 5   x x
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from attention.chosen import ChosenTokens, TokenChoice
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads, executed_pairs, sawtooth_ripple, step_positions
from attention.indexed import NAMES, Indexed, IndexShape, keys_in_order, normed, projected
from attention.kernels.index_choice import choose_groups_by_index
from attention.mixer import MixerInput, StepContext
from attention.outline import Outline, stretch


@dataclass(frozen=True)
class PooledIndexed(Indexed):
    """`qsa(budget=2048, pool=4, heads=4, dim=128)`: Qwen Sparse Attention, groups of keys that an index chooses.

        k_group[c] = RoPE at its first position of RMSNorm(mean of x·Wk over the `pool` tokens of group c)
        score[t, c] = sum_h relu(q_index[t, h]·k_group[c] / sqrt(dim)),  for groups that end at t or before

    The `budget` / `pool` groups with the greatest scores, the same for all heads of the layer, and the tokens behind
    the last whole group: at most `budget` + `pool` - 1 keys.  The cache holds x·Wk of every token.  With `budget` >= N
    it is full attention; queries that see no more whole groups than they may choose ask the index for nothing.
    """

    name = "qsa"
    example = "qsa(budget=12, pool=3, heads=2, dim=6)"

    budget: int = 2048
    pool: int = 4
    heads: int = 4
    dim: int = 128

    def __post_init__(self) -> None:
        for field in ("pool", "heads"):
            if getattr(self, field) < 1:
                raise ValueError(f"qsa: {field} must be at least 1, got {getattr(self, field)}")
        if self.budget < 1 or self.budget % self.pool:
            raise ValueError(f"qsa: budget must be a multiple of pool {self.pool}, got {self.budget}")
        if self.dim < 2 or self.dim % 2:
            raise ValueError(f"qsa: dim must be even, for rotary positions, and at least 2, got {self.dim}")

    @property
    def groups(self) -> int:
        """That a query chooses."""
        return self.budget // self.pool

    @property
    def choice(self) -> TokenChoice:
        """As counts need it: how many keys, not which."""
        return TokenChoice(self.budget + self.pool - 1)

    @property
    def budget_tokens(self) -> int:
        return self.budget

    @property
    def most_read_tokens(self) -> int:
        return self.choice.topk

    @property
    def keys_per_score(self) -> int:
        return self.pool

    def shape(self, heads: Heads) -> IndexShape:
        return IndexShape(self.heads, self.dim)

    def sees_all(self, slots: int) -> bool:
        return slots // self.pool <= self.groups

    def index_keys(self, inputs: MixerInput, now: StepContext) -> jax.Array:
        """[B, T, 1, D], neither normed nor turned: a group's mean is."""
        return projected(inputs.x_btd, inputs.params[f"{NAMES}k_{self.dim}"], self.dim)

    def choose(self, inputs: MixerInput, now: StepContext, k_bs1d: jax.Array, kv_pos_b1s: jax.Array) -> ChosenTokens:
        k_bsd = keys_in_order(k_bs1d, kv_pos_b1s, self.pool)
        mean_bc1d = (
            k_bsd.astype(jnp.float32).reshape(len(k_bsd), -1, self.pool, 1, self.dim).mean(2).astype(k_bsd.dtype)
        )
        first_1c = self.pool * jnp.arange(mean_bc1d.shape[1])[None]
        k_bc1d = now.rotate(normed(mean_bc1d, inputs.params[f"{NAMES}k_norm_{self.dim}"]), first_1c)
        queries = self.index_queries(inputs, now)
        return choose_groups_by_index(queries, k_bc1d[:, :, 0], now.q_pos_bt, self.pool, self.groups)

    # ---------------------------------------------------------------------------------------------------- its cost

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """A query's groups and what is behind them; one that has a choice, and a product for each whole group."""
        (pairs, flops), (pairs_before, flops_before) = (self._up_to(heads, n) for n in (start + tokens, start))
        return Cost(heads.n_heads * (pairs - pairs_before), flops - flops_before)

    def _up_to(self, heads: Heads, n: int) -> tuple[int, int]:
        """Pairs of the first n queries in one head, and FLOPs of the index."""
        whole, rest = divmod(n, self.pool)
        behind = whole * self.pool * (self.pool - 1) // 2 + rest * (rest + 1) // 2
        pairs = self.pool * self._groups_seen(n, self.groups) + behind
        few = min(n, (self.groups + 1) * self.pool - 1)  # queries that have no choice
        per_key, per_query, per_score = self.index_flops(heads)
        scores = self._groups_seen(n, n) - self._groups_seen(few, n)
        return pairs, per_key * n + per_query * (n - few) + per_score * scores

    def _groups_seen(self, n: int, most: int) -> int:
        """The sum of min(whole groups, most) over the first n queries."""
        whole, rest = divmod(n, self.pool)
        growing = min(max(whole - 1, 0), most)
        before = growing * (growing + 1) // 2 + max(whole - 1 - growing, 0) * most
        return self.pool * before + (rest + 1) * min(whole, most)

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        """The index's products with every group of slots."""
        q_pos_t, kv_pos_s = step_positions(self.pattern(), tokens, start, capacity or start + tokens)
        per_key, per_query, per_score = self.index_flops(heads)
        if self.sees_all(kv_pos_s.size):
            return Cost(executed_pairs(self.pattern(), heads, q_pos_t, kv_pos_s, impl), tokens * per_key)
        pairs = executed_pairs(self.choice, heads, q_pos_t, kv_pos_s, impl)
        return Cost(pairs, tokens * (per_key + per_query + per_score * -(-kv_pos_s.size // self.pool)))

    def outline(self, heads: Heads, tokens: int) -> Outline:
        """What is behind the last whole group, and as many groups of those before."""
        end_t = np.arange(tokens) + 1
        whole_t = end_t // self.pool
        before = stretch(0 * end_t, whole_t * self.pool, np.minimum(1.0, self.groups / np.maximum(whole_t, 1)))
        return Outline(((before, stretch(whole_t * self.pool, end_t)),), exact=False)

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        whole_t, rest_t = np.divmod(np.arange(start, start + tokens) + 1, self.pool)
        per_key, per_query, per_score = self.index_flops(heads)
        index_t = per_key + (whole_t > self.groups) * (per_query + per_score * whole_t)
        keys_t = self.pool * np.minimum(whole_t, self.groups) + rest_t
        return 4 * heads.head_dim * heads.n_heads * keys_t + index_t

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """A sawtooth of keys behind the last whole group, and a stair of groups."""
        pair, settled = 4 * heads.head_dim * heads.n_heads, (self.groups + 1) * self.pool - 1
        stair = self.index_flops(heads).per_score * (self.pool // 8 + 1)
        return Growth(settled, self.pool, pair * sawtooth_ripple(self.pool) + stair)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        """None: the index looks at every group."""
        return None
