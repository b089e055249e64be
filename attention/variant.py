"""What an attention variant is: a name, its parameters, who sees whom, what that costs, and how it runs.

Most variants are a pattern and nothing else: all the rest has a default that follows from it.  One that a pattern
cannot put into words (spans chosen by a router, keys chosen by their values) says the rest itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, NamedTuple

import jax

from attention.attended import Attended, AttendFn
from attention.cost import Cost, Heads, executed_span_pairs
from attention.parameters import spelling
from attention.pattern import UNBOUNDED, SpanPattern, cache_tokens, visible_pairs


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
    k_bskh: jax.Array
    v_bskh: jax.Array
    q_pos_bt: jax.Array
    kv_pos_bks: jax.Array
    params: Mapping[str, jax.Array]
    depth: jax.Array


@dataclass(frozen=True)
class Variant:
    """Base of the variants: a frozen dataclass whose fields are the parameters that a layout string may give.

    A new variant is a subclass in a file of its own and one line in `attention.variants`.
    `str(variant)` is its canonical spelling, which parses back to an equal variant.

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

    name: ClassVar[str]
    example: ClassVar[str]
    """A spelling with small numbers, for pictures and for the tests that every variant has to pass."""

    def pattern(self) -> SpanPattern:
        """Who sees whom at most: exactly, where nothing but the pattern decides.  It rules what a cache must keep."""
        raise NotImplementedError

    @property
    def has_only_a_pattern(self) -> bool:
        """Whether `pattern` says all: pairs are then piecewise polynomials of the length."""
        return type(self).useful is Variant.useful

    # --------------------------------------------------------------------------------------------------- the model

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the parameters that a layer with this variant has of its own."""
        return {}

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        """The layer's attention by `attend` or a function with its signature, and what ran for it."""
        return attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt, layer.kv_pos_bks, self.pattern())

    def at_length(self, total_tokens: int) -> Variant:
        """The variant for sequences of up to `total_tokens`, where it depends on that."""
        return self

    def at_layer(self, layer: int, n_layers: int) -> Variant:
        """The variant as layer number `layer` counts it, where layers differ."""
        return self

    def check(self, heads: Heads) -> None:
        """Raises `ValueError` where the variant does not fit a model with these heads."""
        self.pattern().per_head(heads.n_heads)

    def check_prompt(self, tokens: int) -> None:
        """Raises `ValueError` where a prompt of so many tokens cannot show what the variant does."""

    def check_steps(self, steps: Iterable[tuple[int, int]]) -> None:
        """Raises `ValueError` where a prompt may not be fed in these steps, (tokens so far, tokens) each."""

    # ---------------------------------------------------------------------------------------------------- the cost

    @property
    def assumption(self) -> str:
        """What counts take for granted where the cost depends on the tokens; empty where they are exact.

        It begins with "executed: " where what the definition asks for is exact all the same.
        """
        return ""

    def useful(self, heads: Heads, tokens: int, start: int = 0) -> Cost:
        """What the definition asks for: exact visible pairs of queries start..start+tokens-1, and the choosing."""
        return Cost(visible_pairs(self.pattern(), heads.n_heads, tokens, start))

    def executed(self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto") -> Cost:
        """What one step of this project computes, after steps that filled a cache for `capacity` tokens."""
        return Cost(executed_span_pairs(self.pattern(), heads, tokens, start, capacity or start + tokens, impl))

    def limiting_flops(self, heads: Heads) -> Fraction | None:
        """Useful FLOPs of one token far into the prompt, all heads; None if they grow without limit."""
        per_head = self.pattern().per_head(heads.n_heads)
        if any(UNBOUNDED in head for head in per_head):
            return None
        return Fraction(4 * heads.head_dim * sum(span + sink for span, sink in per_head))

    def cache_tokens(self, capacity_tokens: int) -> int:
        """Slots per key-value head that the layer's cache needs between steps."""
        return cache_tokens(self.pattern(), capacity_tokens)

    def __str__(self) -> str:
        words = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.default is dataclasses.MISSING:
                words.append(spelling(value))
            elif value != f.default:
                words.append(f"{f.name}={spelling(value)}")
        return f"{self.name}({', '.join(words)})" if words else self.name
