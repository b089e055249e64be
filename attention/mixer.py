"""A layer's mixer: what carries something from earlier tokens to later ones, as one object.

It declares its parameters, makes its state and steps it, and says what that costs and holds.  The model, its cache and
the counts know nothing else of it: softmax attention (`attention.variant`), evictions (`attention.eviction.base`) and a
recurrent state are one thing to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import jax
import numpy as np

from attention.attended import Attended
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads
from attention.mixer_input import MixerInput, StepContext
from attention.outline import Outline, evenly
from attention.parameters import refuse_hidden, written
from attention.pattern import SpanPattern
from attention.stacked import read_layer, write_layer


@dataclass(frozen=True)
class Mixer:
    """Base: a frozen dataclass whose fields are the parameters that a layout string may give.

    `str(mixer)` is its canonical spelling, which parses back to an equal one where its kind is registered.

    A subclass says at least `init_state`, `mix`, `useful` and `executed`; softmax attention has all of them in
    `attention.variant.Variant`.
    """

    name: ClassVar[str]
    example: ClassVar[str]
    """A spelling with small numbers, for pictures and for the tests that every mixer has to pass."""
    takes_sink_logits: ClassVar[bool] = False
    """Whether all of its attention is by `StepContext.attend`, so that a layer's learned sinks are in its softmax."""
    component: ClassVar[str] = "attention"
    """What its products are counted as: `attention`, or `linear_attention` where no token costs more than another, so
    that they count with the linear layers."""

    score: ClassVar[Any] = None
    """What changes scores, of a kind that `takes_score`."""
    takes_score: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        refuse_hidden(cls)
        if cls.score is not None and not cls.takes_score:
            wanted = "of subclasses of attention.Variant that choose no keys"
            raise ValueError(f"{cls.__name__}: nothing asks its score; accepted: {wanted}")

    # --------------------------------------------------------------------------------------------- what it declares

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the parameters that a layer with this mixer has of its own."""
        return {}

    def operands(self, heads: Heads) -> tuple[tuple[int, ...], ...]:
        """Shapes, behind [B, T], of the input, queries, keys and values that a step gives it."""
        keys = heads.n_kv_heads, heads.head_dim
        return (heads.d_model,), (heads.n_heads, heads.head_dim), keys, keys

    def at_length(self, total_tokens: int) -> Mixer:
        """The mixer for sequences of up to `total_tokens`, where it depends on that."""
        return self

    def after_prompt(self, prompt_tokens: int) -> Mixer:
        """The mixer for sequences of which the prompt brings so many tokens, where it or later steps depend on that."""
        return self

    def pattern(self) -> SpanPattern:
        """Whom a token may reach at most: all earlier ones, where nothing less is said."""
        return SpanPattern()

    @property
    def has_only_a_pattern(self) -> bool:
        """Whether `pattern` says all: pairs are then piecewise polynomials of the length."""
        return False

    def check(self, heads: Heads) -> None:
        """Raises `ValueError` where the mixer does not fit a model with these heads."""

    def check_prompt(self, tokens: int) -> None:
        """Raises `ValueError` where a prompt of so many tokens cannot show what the mixer does."""

    def check_steps(self, steps: Iterable[tuple[int, int]]) -> None:
        """Raises `ValueError` where a prompt may not be fed in these steps, (tokens so far, tokens) each."""

    # --------------------------------------------------------------------------------------------------- its state

    def init_state(
        self, heads: Heads, batch: int, capacity_tokens: int, dtype: jax.typing.DTypeLike, *, ragged: bool = False
    ) -> Any:
        """One layer's state before the first token, a pytree, for sequences of up to `capacity_tokens`.

        Raises `ValueError` where rows may be of different lengths (`ragged`) and the mixer cannot have that.
        """
        raise NotImplementedError

    def cache_tokens(self, capacity_tokens: int) -> int:
        """Slots of keys and values per key-value head that the state needs between steps."""
        return 0

    def held_tokens(self, start: int, capacity_tokens: int, depth: Depth = ONLY_LAYER) -> int:
        """Tokens whose keys and values a step at `start` may read, its own left out; per head, the mean over heads."""
        return min(start, self.cache_tokens(capacity_tokens))

    def read_tokens(self, seen: int, tokens: int) -> int:
        """Of the `seen` tokens that a step may read, those whose keys and values its queries read at most, no two of
        them the same where each reads a few; what is held beside keys and values is read of all."""
        return seen

    @property
    def held_period_tokens(self) -> int:
        """Far into the context, as many are held again, or more, after so many tokens."""
        return 1

    def held_fall(self, low: int, high: int) -> int:
        """Most tokens by which a context of `low`..`high` may hold fewer than a shorter one of them."""
        return 0

    def cache_fall(self, low: int, high: int) -> int:
        """Most slots by which a state for `low`..`high` tokens may have fewer than one for fewer of them."""
        return 0

    def state_values(self, heads: Heads) -> int:
        """Values of one row's state that do not grow with the sequence: a recurrent state."""
        return 0

    def token_values(self, heads: Heads) -> int:
        """Values of a token that are held beside its keys and values, as long as those are: keys of an index."""
        return 0

    def state_bytes(self, state: Any) -> int:
        """Bytes of a state, or of several stacked: what stands for the tokens that went in."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(state))

    def most_tokens(self, state: Any) -> int | None:
        """Tokens after which a (stacked) state would lose one that a later query may see; None if that cannot be."""
        return None

    def position_rows(self, state: Any) -> int:
        """Rows of the batch for which a (stacked) state keeps positions of their own; 1 where they share them."""
        return 1

    def with_known(self, state: Any, tokens: int, start: int, capacity: int) -> Any:
        """A (stacked) state before a step at `start`, with constants where a count may know what it holds."""
        return state

    # ---------------------------------------------------------------------------------------------------- its step

    def step(self, inputs: MixerInput, now: StepContext, stack: Any, layer: jax.Array) -> tuple[Attended, Any]:
        """What the tokens of a step get, and the stacked states with what later steps need in that `layer` of them."""
        attended, state = self.mix(inputs, now, read_layer(stack, layer))
        return attended, write_layer(stack, state, layer)

    def mix(self, inputs: MixerInput, now: StepContext, state: Any) -> tuple[Attended, Any]:
        """The same with one layer's state alone."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------------------- its cost

    later_steps_alone: ClassVar[bool] = False
    """Whether a prompt in one step is what it were without it, and what comes after it alone is not."""

    @property
    def assumption(self) -> str:
        """What counts take for granted where the cost depends on the tokens; empty where they are exact.

        It begins with "executed: " where what the definition asks for is exact all the same.
        """
        return ""

    def differs_by_depth(self, n_layers: int) -> bool:
        """Whether layers with this mixer cost, or choose, differently in a model of so many layers."""
        return False

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """What the definition asks for, of queries start..start+tokens-1."""
        raise NotImplementedError

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        """What one step of this project computes, after steps that filled a state for `capacity` tokens."""
        raise NotImplementedError

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        """Useful FLOPs of one token far into the prompt, all heads; None if they grow without limit."""
        raise NotImplementedError

    def outline(self, heads: Heads, tokens: int) -> Outline:
        """Where the keys of each query of a prompt lie.  Here: as many as are counted, anywhere before it."""
        pairs, full = self.useful(heads, tokens).pairs, heads.n_heads * tokens * (tokens + 1) // 2
        return Outline((evenly(tokens, pairs / full),), exact=pairs == full)

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        """By how many useful FLOPs each token start..start+tokens-1 makes a prompt dearer: int64 [T]."""
        lengths = range(start, start + tokens + 1)
        flops = [self.at_length(n).useful(heads, n, depth=depth).flops(heads) if n else 0 for n in lengths]
        return np.diff(np.array(flops, object)).astype(np.int64)

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth | None:
        """How the useful FLOPs of a prompt grow with it; None where all that is known is that they do not fall."""
        return None

    def traced_pieces(self, tokens: int) -> int:
        """Pieces of a step that a count follows one by one; 0 where it runs whole."""
        return 0

    def looked_up(self, tokens: int) -> int:
        """Tokens of a step whose choice a count has to look up one by one."""
        return 0

    def __str__(self) -> str:
        words = written(self)
        return f"{self.name}({', '.join(words)})" if words else self.name
