"""DeepSeek Sparse Attention: an index chooses keys one by one, the same for all heads (2512.02556).

k=3, the index liking key 0, and then the newer ones:

    key   0 1 2 3 4 5
    q 2   x x x
    q 3   x   x x
    q 4   x     x x
    q 5   x       x x
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attention.chosen import ChosenTokens, TokenChoice
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads, executed_pairs, step_positions
from attention.indexed import EPS, NAMES, Indexed, IndexFlops, IndexShape, keys_in_order, projected
from attention.kernels.index_choice import choose_tokens_by_index
from attention.mixer import MixerInput, StepContext
from attention.outline import Outline, evenly, stretch


@dataclass(frozen=True)
class TokenIndexed(Indexed):
    """`dsa(k=2048, heads=16, dim=128)`: DeepSeek Sparse Attention, keys that an index chooses (2512.02556).

        score[t, s] = sum_h w[t, h] · relu(q_index[t, h]·k_index[s] / sqrt(dim)),  s <= t

    with w = x·Ww / sqrt(heads): the `k` keys with the greatest scores, the same for all heads of the layer.  One key of
    the index a token, of LayerNorm(x·Wk); queries are not normed.  With `k` >= N it is full attention.

    Where a model has a low-rank query, DeepSeek's index reads that; this one reads the layer's input.  The first `k`
    queries have nothing to choose and ask the index for nothing; the sum over its heads is no matrix product.
    """

    name = "dsa"
    example = "dsa(k=11, heads=3, dim=6)"

    k: int = 2048
    heads: int = 16
    dim: int = 128

    def __post_init__(self) -> None:
        for field in ("k", "heads"):
            if getattr(self, field) < 1:
                raise ValueError(f"dsa: {field} must be at least 1, got {getattr(self, field)}")
        if self.dim < 2 or self.dim % 2:
            raise ValueError(f"dsa: dim must be even, for rotary positions, and at least 2, got {self.dim}")

    @property
    def choice(self) -> TokenChoice:
        """As counts need it: how many keys, not which."""
        return TokenChoice(self.k)

    @property
    def budget_tokens(self) -> int:
        return self.k

    def shape(self, heads: Heads) -> IndexShape:
        return IndexShape(self.heads, self.dim)

    def sees_all(self, slots: int) -> bool:
        return slots <= self.k

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        d, h, dim = heads.d_model, self.heads, self.dim
        return {
            f"{NAMES}q_{h}x{dim}": (d, h * dim), f"{NAMES}k_{dim}": (d, dim), f"{NAMES}weight_{h}": (d, h),
            f"{NAMES}k_norm_{dim}": (dim,), f"{NAMES}k_bias_{dim}": (dim,),
        }  # fmt: skip

    def index_flops(self, heads: Heads) -> IndexFlops:
        per_key, per_query, per_score = super().index_flops(heads)
        return IndexFlops(per_key, per_query + 2 * heads.d_model * self.heads, per_score)

    def index_queries(self, inputs: MixerInput, now: StepContext) -> jax.Array:
        """[B, T, H, D], turned."""
        q_bthd = projected(inputs.x_btd, inputs.params[f"{NAMES}q_{self.heads}x{self.dim}"], self.dim)
        return now.rotate(q_bthd, now.q_pos_bt)

    def index_keys(self, inputs: MixerInput, now: StepContext) -> jax.Array:
        of = {name: inputs.params[f"{NAMES}{name}_{self.dim}"].astype(jnp.float32) for name in ("k_norm", "k_bias")}
        k32 = projected(inputs.x_btd, inputs.params[f"{NAMES}k_{self.dim}"], self.dim).astype(jnp.float32)
        k32 -= k32.mean(-1, keepdims=True)
        k32 *= lax.rsqrt(jnp.square(k32).mean(-1, keepdims=True) + EPS)
        return now.rotate((k32 * of["k_norm"] + of["k_bias"]).astype(inputs.x_btd.dtype), now.q_pos_bt)

    def choose(self, inputs: MixerInput, now: StepContext, k_bs1d: jax.Array, kv_pos_b1s: jax.Array) -> ChosenTokens:
        weight_bt1h = projected(inputs.x_btd, inputs.params[f"{NAMES}weight_{self.heads}"], self.heads)
        weight_bth = self.heads**-0.5 * weight_bt1h[:, :, 0].astype(jnp.float32)
        k_bsd = keys_in_order(k_bs1d, kv_pos_b1s, 1)
        return choose_tokens_by_index(self.index_queries(inputs, now), weight_bth, k_bsd, now.q_pos_bt, self.choice)

    # ---------------------------------------------------------------------------------------------------- its cost

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """min(t + 1, k) pairs a query; one that has a choice, and an index product for each key that it may choose."""
        (pairs, flops), (pairs_before, flops_before) = (self._up_to(heads, n) for n in (start + tokens, start))
        return Cost(heads.n_heads * (pairs - pairs_before), flops - flops_before)

    def _up_to(self, heads: Heads, n: int) -> tuple[int, int]:
        """Pairs of the first n queries in one head, and FLOPs of the index."""
        few = min(n, self.k)
        per_key, per_query, per_score = self.index_flops(heads)
        all_keys, keys_of_few = n * (n + 1) // 2, few * (few + 1) // 2
        flops = per_key * n + per_query * (n - few) + per_score * (all_keys - keys_of_few)
        return keys_of_few + (n - few) * self.k, flops

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        """The index's products with every slot."""
        q_pos_t, kv_pos_s = step_positions(self.pattern(), tokens, start, capacity or start + tokens)
        per_key, per_query, per_score = self.index_flops(heads)
        if self.sees_all(kv_pos_s.size):
            return Cost(executed_pairs(self.pattern(), heads, q_pos_t, kv_pos_s, impl), tokens * per_key)
        pairs = executed_pairs(self.choice, heads, q_pos_t, kv_pos_s, impl)
        return Cost(pairs, tokens * (per_key + per_query + per_score * kv_pos_s.size))

    def outline(self, heads: Heads, tokens: int) -> Outline:
        """As many of the earlier keys, and its own, anywhere."""
        ((every,),) = (evenly(tokens, 1.0),)
        share_t = np.minimum(1.0, self.k / every.end_t)
        return Outline(((stretch(every.start_t, every.end_t, share_t),),), exact=False)

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        seen_t = np.arange(start, start + tokens) + 1
        per_key, per_query, per_score = self.index_flops(heads)
        index_t = per_key + (seen_t > self.k) * (per_query + per_score * seen_t)
        return 4 * heads.head_dim * heads.n_heads * np.minimum(seen_t, self.k) + index_t

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        return Growth(self.k)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> None:
        """The index looks at every key."""
