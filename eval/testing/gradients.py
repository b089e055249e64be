"""That a variant can be trained: its gradients through a kernel are those through the whole mask."""

from __future__ import annotations

from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np

from attention.checks import of_kind
from attention.cost import Heads
from attention.mixer import Mixer
from eval.testing.variant_case import HEADS, VariantCase
from refmodel.attend_layer import Projected


def assert_gradients_match_dense(
    variant: Mixer,
    *,
    tokens: int = 97,
    heads: Heads = HEADS,
    seed: int = 0,
    impl: str = "blockwise",
    tolerance: float = 1e-4,
) -> None:
    """Asserts that the gradients by queries, keys, values, layer input and parameters are those of `impl="dense"`.

    Of the sum of sin(out) for one prompt in one step, in float32.  What a variant chooses (keys, blocks, spans) has no
    gradient and is the same in both runs; through what was chosen gradients flow.

    Args:
        tokens, heads: as in `assert_matches_dense`.
        tolerance: of the largest number in a gradient; for some are nothing but rounding, a tenth of the largest number
            in all stands for it where that is more.

    Raises:
        AssertionError: the operand whose gradient is not finite or differs by more, and by how much.
        ValueError: heads or a length that the variant does not take.

    Examples:
        >>> import attention
        >>> from eval.testing import assert_gradients_match_dense
        >>> assert_gradients_match_dense(attention.make("swa", window=7, sinks=2), tokens=31)
    """
    case = VariantCase(variant, tokens, heads, seed)
    of_kind("tolerance: a number", tolerance, Real)
    found, wanted = (_gradients(case, name) for name in (impl, "dense"))
    for by, gradients in ((impl, found), ("dense", wanted)):
        for name, gradient in gradients.items():
            if not np.isfinite(gradient).all():
                raise AssertionError(f"{case.title(by)}: the gradient by {name} is not finite")
    largest = max(np.abs(gradient).max() for gradient in wanted.values())
    for name, gradient in found.items():
        error, own = np.abs(gradient - wanted[name]).max(), np.abs(wanted[name]).max()
        if error > tolerance * max(own, largest / 10):
            raise AssertionError(
                f"{case.title(impl)}: the gradient by {name} is not that of dense attention: it differs by "
                f"{error:.3g}, the largest number in it is {own:.3g}, in all {largest:.3g}"
            )


def _gradients(case: VariantCase, impl: str) -> dict[str, np.ndarray]:
    """By the name of what it is taken by."""
    kernel, arguments = case.kernel(impl)

    def loss(inputs: Projected, params: dict[str, jax.Array]) -> jax.Array:
        return jnp.sin(kernel(inputs, params).out_btnh).sum()

    by_inputs, by_params = jax.jit(jax.grad(loss, argnums=(0, 1)))(*arguments)
    return {name: np.asarray(gradient) for name, gradient in (by_inputs._asdict() | by_params).items()}
