"""Assertions that two runs of a prompt give the same: its beginning alone, and in other steps."""

from __future__ import annotations

import jax
import numpy as np

from attention.cost import Heads
from attention.mixer import Mixer
from eval.testing.variant_case import HEADS, LEAST_TOKENS, DoesNotApply, VariantCase, refuse_difference


def assert_prefixes_agree(
    variant: Mixer,
    *,
    tokens: int = 97,
    heads: Heads = HEADS,
    seed: int = 0,
    impl: str = "blockwise",
    atol: float = 2e-5,
) -> None:
    """Asserts that the first tokens of a prompt, as a prompt of their own, give what they give in front of others.

    So that prompts may share what a cache holds of their beginning.  A rule that goes by the prompt's length, or by its
    last queries, is found here where `assert_causal`, which keeps the length, may let it pass.

    Raises:
        AssertionError: the prefix, and the first batch row, token and head of it that differs by more than `atol`.
        ValueError: heads or lengths that the variant does not take.

    Examples:
        >>> import attention
        >>> from eval.testing import assert_prefixes_agree
        >>> assert_prefixes_agree(attention.make("swa", window=7, sinks=2), tokens=31)
    """
    whole = VariantCase(variant, tokens, heads, seed)
    kernel, (inputs, params) = whole.kernel(impl)
    longer = np.asarray(jax.jit(kernel)(inputs, params).out_btnh)
    others = (n for n in range(tokens - 1, 0, -1) if variant.at_length(n) != whole.settled)  # rules of their own
    prefixes = sorted(n for n in {tokens // 2, tokens - 1, next(others, 0)} if n >= LEAST_TOKENS)
    if not prefixes:
        raise DoesNotApply(
            f"a prompt of more than {LEAST_TOKENS} tokens has a beginning that shows something, got {tokens}"
        )
    for prefix in prefixes:
        case = VariantCase(variant, prefix, heads, seed)
        first = jax.tree.map(lambda x, prefix=prefix: x[:, :prefix], inputs)
        alone = np.asarray(jax.jit(case.kernel(impl)[0])(first, params).out_btnh)
        what = f"{whole.title(impl)} is not that of its first {prefix} tokens by themselves"
        refuse_difference(alone, longer[:, :prefix], atol, what)


def assert_steps_agree(
    mixer: Mixer,
    *,
    tokens: int = 97,
    heads: Heads = HEADS,
    seed: int = 0,
    impl: str = "blockwise",
    atol: float = 2e-5,
) -> None:
    """Asserts that a prompt gives the same in one step and in chunks with decode steps behind them.

    For what has no dense oracle, such as a recurrent state; `assert_matches_dense` asks more of the others.

    Raises:
        AssertionError: the steps, and the first batch row, token and head that differs by more than `atol`.
        ValueError: heads or a length that the mixer does not take.

    Examples:
        >>> import attention
        >>> from eval.testing import assert_steps_agree
        >>> assert_steps_agree(attention.make("swa", window=7, sinks=2), tokens=31)
    """
    case = VariantCase(mixer, tokens, heads, seed)
    at_once, *others = case.schedules()
    expected = case.run(impl, at_once)
    for steps in others:
        what = f"{case.title(impl, steps)} is not what it is in one step"
        refuse_difference(case.run(impl, steps), expected, atol, what)
