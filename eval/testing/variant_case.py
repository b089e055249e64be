"""A case to test a variant on: one layer as the model runs it, on random operands, in every way that it may be fed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend
from attention.backends.registry import BACKENDS
from attention.checks import MOST_SEED, of_kind, whole
from attention.cost import Heads
from attention.mask import dense_mask
from attention.mixer import Mixer
from attention.stacked import as_array
from attention.variant import LayerInput
from eval.measure.layer_program import Layer, layer_kernel
from eval.testing.visibility import layer_weights
from refmodel.attend_layer import Projected
from refmodel.decoder import decoder
from refmodel.schedule import prefill_steps
from refmodel.specification import ModelConfig

HEADS: Final = Heads(n_heads=6, n_kv_heads=2, head_dim=14, d_model=11)
"""Sizes that no two axes share, so that a swapped axis cannot pass."""

BATCH: Final = 2
LEAST_TOKENS: Final = 8

DECODED: Final = 2
"""Tokens that are fed one by one, after the chunks."""


class DoesNotApply(ValueError):
    """A check asks something that this variant, or this length, cannot be asked."""


@dataclass(frozen=True)
class VariantCase:
    """Operands for `tokens` tokens of two prompts, drawn from `seed`, and the runs of one layer on them.

    Raises `ValueError` for heads or a length that the variant does not take, or that show nothing.
    """

    variant: Mixer
    tokens: int
    heads: Heads
    seed: int

    def __post_init__(self) -> None:
        of_kind("a variant, such as attention.make(...),", self.variant, Mixer)
        of_kind("heads: an attention.cost.Heads", self.heads, Heads)
        whole("tokens", self.tokens, 0)
        whole("seed", self.seed, 0, MOST_SEED)
        if self.tokens < LEAST_TOKENS:
            raise ValueError(f"a prompt of at least {LEAST_TOKENS} tokens shows what a variant does, got {self.tokens}")
        self.variant.check_prompt(self.tokens)

    @property
    def settled(self) -> Mixer:
        return self.variant.at_length(self.tokens)

    @property
    def config(self) -> ModelConfig:
        n, k, h, d = self.heads.n_heads, self.heads.n_kv_heads, self.heads.head_dim, self.heads.d_model
        return decoder("testing", 1, d, n, k, h, vocab_size=1, d_ff=1, layout=(self.variant,))

    def kernel(
        self, impl: str, steps: tuple[int, ...] = (), batch: int = BATCH
    ) -> tuple[Layer, tuple[Projected, dict[str, jax.Array]]]:
        if impl != "auto":
            BACKENDS.find(impl)
        run = partial(attend, impl=impl)
        return layer_kernel(
            self.config, self.variant, self.tokens, jnp.float32, attend=run, seed=self.seed, batch=batch, steps=steps
        )

    def run(self, impl: str, steps: tuple[int, ...]) -> np.ndarray:
        kernel, arguments = self.kernel(impl, steps)
        return np.asarray(jax.jit(kernel)(*arguments).out_btnh)

    @cached_property
    def layer_input(self) -> LayerInput:
        """Of the whole prompt."""
        _, (inputs, params) = self.kernel("dense")
        position = jnp.arange(self.tokens, dtype=jnp.int32)
        return LayerInput(*inputs, position[None], position[None, None], params, jnp.int32(0))

    def schedules(self) -> Iterator[tuple[int, ...]]:
        """The prompt in one step; in chunks and single tokens, the longest chunks that the variant allows."""
        yield (self.tokens,)
        prompt = self.tokens - DECODED
        for chunk in (*range(self.tokens // 2, self.tokens // 8, -1), prompt):
            steps = (*(step.tokens for step in prefill_steps(prompt, chunk)), *[1] * DECODED)
            if self.allows(steps):
                yield steps
                return

    def allows(self, steps: tuple[int, ...]) -> bool:
        try:
            self.settled.check_steps(zip(_starts(steps), steps, strict=True))
        except ValueError:
            return False
        return True

    def oracle_mask(self, steps: tuple[int, ...]) -> tuple[np.ndarray, str]:
        """Who may be seen, bool [B or 1, N, T, T], and what says so."""
        pattern, layer = self.settled.pattern(), self.layer_input
        widest = np.asarray(dense_mask(pattern, layer.q_pos_bt, as_array(layer.kv_pos_bks), self.heads.n_heads))
        if self.settled.has_only_a_pattern:
            return widest, f"its pattern {pattern}"
        pairs = sum(self.settled.useful(self.heads, *step).pairs for step in zip(steps, _starts(steps), strict=True))
        alike = pairs == self.settled.useful(self.heads, self.tokens).pairs
        seen = self.seen_at_once if alike else self.seen(steps)
        beyond = np.argwhere(seen & ~widest)
        if len(beyond):
            b, n, t, s = beyond[0]
            raise AssertionError(
                f"{self.title('dense', steps)}: head {n} of token {t} in batch row {b} sees key {s}, beyond its "
                f"pattern {pattern}"
            )
        return seen, "what its dense run saw"

    def seen(self, steps: tuple[int, ...]) -> np.ndarray:
        """The keys that a dense run gave a weight."""
        kernel, (inputs, params) = self.kernel("dense", steps)
        return layer_weights(kernel, inputs, params) != 0

    @cached_property
    def seen_at_once(self) -> np.ndarray:
        return self.seen((self.tokens,))

    def same(self, what: str, counted: int, where: str, found: int) -> None:
        if counted != found:
            raise AssertionError(f"{self.title()} counts {counted:,} {what}; {where}: {found:,}")

    def title(self, impl: str = "", steps: tuple[int, ...] = ()) -> str:
        """Variant, kernel, sizes and seed, for messages."""
        how = [impl, f"steps {'+'.join(map(str, steps or (self.tokens,)))}", str(self.heads), f"seed {self.seed}"]
        return f"{self.variant} ({', '.join(filter(None, how))})"


def refuse_difference(got_btnh: np.ndarray, expected_btnh: np.ndarray, atol: float, what: str) -> None:
    """Raises `AssertionError`, `what` and the first place that is off by more than `atol`."""
    wrong = ~np.isclose(got_btnh, expected_btnh, rtol=0, atol=atol)
    if wrong.any():
        b, t, n, h = place = tuple(np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}: first at batch row {b}, token {t}, head {n}, component {h}: {got_btnh[place]:.6g}, expected "
            f"{expected_btnh[place]:.6g} +- {atol:g}"
        )


def _starts(steps: tuple[int, ...]) -> list[int]:
    return [0, *accumulate(steps)][:-1]
