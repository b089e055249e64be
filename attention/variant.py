"""What an attention variant is: softmax attention under a pattern, with the ordinary cache.

Most variants are a pattern and nothing else: all the rest has a default that follows from it.  One that a pattern
cannot put into words (spans chosen by a router, keys chosen by their values) says the rest itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import jax
import numpy as np

from attention.attended import Attended, AttendFn
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads, executed_pairs, span_keys, step_positions
from attention.kv_cache import Keep, LayerCache, extend, init_layer_cache
from attention.mixer import Mixer, MixerInput, StepContext
from attention.outline import Outline, of_spans
from attention.pattern import UNBOUNDED, SpanPattern, cache_tokens, holds_everything, visible_pairs
from attention.stacked import InStack


class LayerInput(NamedTuple):
    """What a layer's attention reads in one step.

    Attributes:
        x_btd: the normed input of the projections, which routers read.
        q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks: as in `attention.attend.attend`: the step's queries, and the keys
            that the cache kept with the step's own.
        params: the variant's parameters in this layer, by the names of `Variant.params`.
        depth: the layer's number in the model, int32.
    """

    x_btd: jax.Array
    q_btnh: jax.Array
    k_bskh: jax.Array | InStack
    v_bskh: jax.Array | InStack
    q_pos_bt: jax.Array
    kv_pos_bks: jax.Array | InStack
    params: Mapping[str, jax.Array]
    depth: jax.Array


@dataclass(frozen=True)
class Variant(Mixer):
    """Base of the variants: a frozen dataclass whose fields are the parameters that a layout string may give.

    `attention.register` makes one known by its name, and `str(variant)`, its canonical spelling, parses back then.

    Examples:
        >>> from dataclasses import dataclass
        >>> from attention import SpanPattern, Variant
        >>> @dataclass(frozen=True)
        ... class Wedge(Variant):
        ...     name = "wedge"
        ...     window: int
        ...
        ...     def pattern(self):
        ...         return SpanPattern(span=(self.window,), sink=(self.window,))
        >>> str(Wedge(5)), Wedge(5).cache_tokens(4096)
        ('wedge(5)', 9)
    """

    takes_sink_logits: ClassVar[bool] = True
    takes_score: ClassVar[bool] = True
    score = cast(Any, None)  # not a ClassVar, which type checkers would not let a method override
    """A method of a subclass that changes scores, as `attention.kernels.score.Score` has it; None for none."""

    def pattern(self) -> SpanPattern:
        """Who sees whom at most: exactly, where nothing but the pattern decides.  It rules what a cache must keep."""
        raise NotImplementedError

    @property
    def has_only_a_pattern(self) -> bool:
        kind = type(self)
        return kind.useful is Variant.useful and kind.at_length is Variant.at_length

    def at_length(self, total_tokens: int) -> Variant:
        return self

    def check(self, heads: Heads) -> None:
        self.pattern().per_head(heads.n_heads)

    # ------------------------------------------------------------------------------------- its cache and its step

    def init_state(
        self, heads: Heads, batch: int, capacity_tokens: int, dtype: jax.typing.DTypeLike, *, ragged: bool = False
    ) -> LayerCache:
        return init_layer_cache(heads, batch, self.cache_tokens(capacity_tokens), dtype, ragged=ragged)

    def cache_tokens(self, capacity_tokens: int) -> int:
        """Slots per key-value head that the layer's cache needs between steps."""
        return cache_tokens(self.pattern(), capacity_tokens)

    def state_bytes(self, state: LayerCache) -> int:
        """Of keys and values."""
        return state.keys.nbytes + state.values.nbytes

    def most_tokens(self, state: LayerCache) -> int | None:
        """The slots of a cache that must keep every token."""
        slots = state.positions.shape[-1]
        return slots if holds_everything(self.pattern(), slots) else None

    def position_rows(self, state: LayerCache) -> int:
        return state.positions.shape[-3]

    def with_known(self, state: LayerCache, tokens: int, start: int, capacity: int) -> LayerCache:
        """The positions in the slots."""
        _, seen = step_positions(self.pattern(), tokens, start, capacity)
        before = np.where(seen < start, seen, -1)[: state.positions.shape[-1]]
        known: Any = np.broadcast_to(before, state.positions.shape).astype(np.int32)
        return state._replace(positions=known)

    def step(
        self, inputs: MixerInput, now: StepContext, stack: LayerCache, layer: jax.Array
    ) -> tuple[Attended, LayerCache]:
        attend = partial(now.attend, order="prompt") if now.in_order else now.attend
        attend = attend if self.score is None else partial(attend, score=self.score)
        operands, keep = self.layer_input(inputs, now, stack, layer)
        attended = self.attend(attend, operands)
        return attended, keep(attended)

    def layer_input(
        self, inputs: MixerInput, now: StepContext, stack: LayerCache, layer: jax.Array
    ) -> tuple[LayerInput, Keep]:
        """What the step attends to; and what gives, once it has attended, the caches with its tokens where they
        belong."""
        own = LayerCache(inputs.k_btkh, inputs.v_btkh, now.q_pos_bt[:, None])
        seen, keep = extend(stack, layer, own, now.length, self.pattern(), now.first)
        operands = LayerInput(
            inputs.x_btd, inputs.q_btnh, seen.keys, seen.values, now.q_pos_bt, seen.positions, inputs.params,
            now.depth.layer,
        )  # fmt: skip
        return operands, keep

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        """The layer's attention by `attend` or a function with its signature, and what ran for it."""
        return attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt, layer.kv_pos_bks, self.pattern())

    # ---------------------------------------------------------------------------------------------------- its cost

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """What the definition asks for: exact visible pairs of queries start..start+tokens-1, and the choosing."""
        return Cost(visible_pairs(self.pattern(), heads.n_heads, tokens, start))

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        """What one step of this project computes, after steps that filled a cache for `capacity` tokens."""
        pattern = self.pattern()
        q_pos_t, kv_pos_s = step_positions(pattern, tokens, start, capacity or start + tokens)
        return Cost(executed_pairs(pattern, heads, q_pos_t, kv_pos_s, impl))

    def outline(self, heads: Heads, tokens: int) -> Outline:
        if not self.has_only_a_pattern:
            return super().outline(heads, tokens)
        per_head = self.pattern().per_head(heads.n_heads)
        return Outline(tuple(of_spans(np.full(tokens, span), sink) for span, sink in per_head), exact=True)

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        if not self.has_only_a_pattern:
            return super().token_flops(heads, start, tokens, depth)
        return 4 * heads.head_dim * span_keys(self.pattern(), heads.n_heads, start, tokens)

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth | None:
        if not self.has_only_a_pattern:
            return None
        per_head = self.pattern().per_head(heads.n_heads)
        return Growth(max(end for span, sink in per_head for end in (1, span, span + sink) if end < UNBOUNDED))

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        """Useful FLOPs of one token far into the prompt, all heads; None if they grow without limit."""
        per_head = self.pattern().per_head(heads.n_heads)
        if any(UNBOUNDED in head for head in per_head):
            return None
        return Fraction(4 * heads.head_dim * sum(span + sink for span, sink in per_head))
