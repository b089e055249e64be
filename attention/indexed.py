"""Indexed attention: a small learned scorer beside a layer chooses which keys its queries read.

The index has projections of its own, of the layer's input, and keys of its own, one a token, which stand beside the
cache's.  It looks at every token before, so that it is quadratic too, at a fraction of what attention costs: a second
wall behind the first.  What it chooses, and by which score, is a variant's: `attention.block_indexed`,
`attention.token_indexed`, `attention.pooled_indexed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.attended import Attended
from attention.chosen import Choice
from attention.cost import Heads
from attention.kernels.block_routed import by_position
from attention.kv_cache import LayerCache, init_layer_cache, write_tokens
from attention.mixer import MixerInput, StepContext
from attention.pattern import SpanPattern
from attention.stacked import LayerOf, as_array
from attention.variant import Variant

NAMES: Final = "index_"
"""What the names of an index's parameters begin with."""

EPS: Final = 1e-6
"""Of the norms of an index's queries and keys."""


class IndexShape(NamedTuple):
    """Query heads of an index, and the size of each and of its one key head: G and D."""

    heads: int
    dim: int


class IndexFlops(NamedTuple):
    """Of a token's key, of its queries, and of all heads' products with one key of the index."""

    per_key: int
    per_query: int
    per_score: int


class IndexedCache(NamedTuple):
    """A `LayerCache`, and the keys of the index [..., B, C, 1, D] in the same slots."""

    keys: jax.Array
    values: jax.Array
    positions: jax.Array
    index_keys: jax.Array


@dataclass(frozen=True)
class Indexed(Variant):
    """Base of the variants with an index: its parameters, its state, its step; what it chooses is a subclass's.

    Queries and keys of the index are x·Wq and x·Wk, each head normed (RMSNorm) and turned by the layer's own rotary
    positions.  The parameters are a checkpoint's or random: `index_q_GxD`, `index_k_D` and the scales of the norms.
    """

    takes_score: ClassVar[bool] = False

    def pattern(self) -> SpanPattern:
        """Every key stays, for a later query may choose it."""
        return SpanPattern()

    def shape(self, heads: Heads) -> IndexShape:
        """The sizes of the index in a layer with these heads."""
        raise NotImplementedError

    @property
    def budget_tokens(self) -> int:
        """Keys that the index chooses for a query, its own block's among them."""
        raise NotImplementedError

    @property
    def most_read_tokens(self) -> int:
        """Keys that one query reads at most."""
        return self.budget_tokens

    @property
    def keys_per_score(self) -> int:
        """Keys of the cache that one product of the index is for."""
        return 1

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        g, dim = self.shape(heads)
        return {
            f"{NAMES}q_{g}x{dim}": (heads.d_model, g * dim), f"{NAMES}k_{dim}": (heads.d_model, dim),
            f"{NAMES}q_norm_{dim}": (dim,), f"{NAMES}k_norm_{dim}": (dim,),
        }  # fmt: skip

    def index_flops(self, heads: Heads) -> IndexFlops:
        """What counts are made of."""
        g, dim = self.shape(heads)
        return IndexFlops(2 * heads.d_model * dim, 2 * heads.d_model * g * dim, 2 * g * dim)

    # ------------------------------------------------------------------------------------- its cache and its step

    def init_state(
        self, heads: Heads, batch: int, capacity_tokens: int, dtype: jax.typing.DTypeLike, *, ragged: bool = False
    ) -> Any:
        """An `IndexedCache` of empty slots."""
        cache = init_layer_cache(heads, batch, self.cache_tokens(capacity_tokens), dtype, ragged=ragged)
        return IndexedCache(*cache, jnp.zeros((*cache.keys.shape[:2], 1, self.shape(heads).dim), cache.keys.dtype))

    def read_tokens(self, seen: int, tokens: int) -> int:
        return min(seen, tokens * self.most_read_tokens)

    def token_values(self, heads: Heads) -> int:
        return self.shape(heads).dim

    def state_bytes(self, state: Any) -> int:
        """Of keys and values, the index's among them."""
        return state.keys.nbytes + state.values.nbytes + state.index_keys.nbytes

    def step(self, inputs: MixerInput, now: StepContext, stack: Any, layer: jax.Array) -> tuple[Attended, Any]:
        attend = partial(now.attend, order="prompt") if now.in_order else now.attend
        operands, keep = self.layer_input(inputs, now, LayerCache(*stack[:3]), layer)
        with jax.named_scope("selection"):
            own_bt1d = self.index_keys(inputs, now)
            index_lbs1d = write_tokens(stack.index_keys, own_bt1d, layer, now.length)
            seen_bs1d = own_bt1d if now.first else LayerOf(index_lbs1d, layer).read()
            pattern: SpanPattern | Choice = self.pattern()
            if not self.sees_all(seen_bs1d.shape[1]):
                pattern = self.choose(inputs, now, seen_bs1d, as_array(operands.kv_pos_bks))

        def chosen(*arrays_and_pattern: Any, **options: Any) -> Attended:
            return attend(*arrays_and_pattern[:5], pattern, **options)

        attended = self.attend(chosen, operands)
        return attended, IndexedCache(*keep(attended), index_lbs1d)

    def sees_all(self, slots: int) -> bool:
        """Whether queries of so many slots have nothing to choose."""
        raise NotImplementedError

    def choose(self, inputs: MixerInput, now: StepContext, k_bs1d: jax.Array, kv_pos_b1s: jax.Array) -> Choice:
        """What each of a step's queries reads, by its queries and the index's keys in the slots of the cache."""
        raise NotImplementedError

    def index_queries(self, inputs: MixerInput, now: StepContext) -> jax.Array:
        """[B, T, G, D], normed and turned."""
        g, dim = self.shape(heads_of(inputs))
        q_btgd = projected(inputs.x_btd, inputs.params[f"{NAMES}q_{g}x{dim}"], dim)
        return now.rotate(normed(q_btgd, inputs.params[f"{NAMES}q_norm_{dim}"]), now.q_pos_bt)

    def index_keys(self, inputs: MixerInput, now: StepContext) -> jax.Array:
        """[B, T, 1, D], as the state holds them: normed and turned."""
        dim = self.shape(heads_of(inputs)).dim
        k_bt1d = projected(inputs.x_btd, inputs.params[f"{NAMES}k_{dim}"], dim)
        return now.rotate(normed(k_bt1d, inputs.params[f"{NAMES}k_norm_{dim}"]), now.q_pos_bt)


def heads_of(inputs: MixerInput) -> Heads:
    """The sizes that a layer's operands have."""
    n_kv_heads, head_dim = inputs.k_btkh.shape[2:]
    return Heads(inputs.q_btnh.shape[2], n_kv_heads, head_dim, inputs.x_btd.shape[2])


def keys_in_order(k_bs1d: jax.Array, kv_pos_b1s: jax.Array, size: int) -> jax.Array:
    """Keys of an index [B, S', D] at slot = position, S' a whole number of blocks of `size`."""
    return by_position((k_bs1d,), kv_pos_b1s, size)[0][:, 0]


def projected(x_btd: jax.Array, weight_de: jax.Array, dim: int) -> jax.Array:
    """x·W as heads of `dim`, in x's dtype."""
    projected_bte = jnp.einsum("btd,de->bte", x_btd, weight_de, precision="highest")
    return projected_bte.astype(x_btd.dtype).reshape(*x_btd.shape[:2], -1, dim)


def normed(x_btgd: jax.Array, scale_d: jax.Array) -> jax.Array:
    """RMSNorm in float32."""
    x32 = x_btgd.astype(jnp.float32)
    normed = x32 * lax.rsqrt(jnp.square(x32).mean(-1, keepdims=True) + EPS)
    return (normed * scale_d.astype(jnp.float32)).astype(x_btgd.dtype)
