"""What every attention variant owes, as assertions in the manner of chex, for variants of one's own.

Each runs one layer with the variant as the model would, on random operands: from an empty cache, in one step or in
several.  A failure names the variant, the sizes, the seed and the first place that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Final

import chex
import jax
import jax.numpy as jnp
import numpy as np

from attention.backends.registry import BACKENDS
from attention.checks import of_kind
from attention.cost import Heads
from attention.kernels.dense import attend_masked, change_of
from attention.mixer import Mixer
from attention.stacked import as_array
from attention.variant import LayerInput
from eval.cost.flops.traced import count_flops
from eval.measure.device_work import layer_work
from eval.testing.variant_case import HEADS, DoesNotApply, VariantCase, refuse_difference
from eval.testing.visibility import read_keys
from refmodel.attend_layer import Projected

MOST_CUTS: Final = 32
"""Places at which `assert_causal` changes the rest of the prompt, at most."""

Mask = Callable[[LayerInput], jax.typing.ArrayLike]


def assert_matches_dense(
    variant: Mixer,
    *,
    mask: Mask | None = None,
    tokens: int = 97,
    heads: Heads = HEADS,
    seed: int = 0,
    impl: str = "blockwise",
    atol: float = 2e-5,
) -> None:
    """Asserts that the variant is softmax(q·k / sqrt(H), over the keys that it sees)·v in float32, however it is fed.

    It runs with `impl` in one step, and in chunks with decode steps behind them as far as the variant allows, through
    the cache that its `cache_tokens` gives it.  The dense oracle (`attention.kernels.dense`) sees the same keys by

    * `mask`, if given: bool [B or 1, N, T, S] from the `LayerInput` of the whole prompt;
    * the variant's `pattern`, where nothing but that decides;
    * else the keys with a weight in a run with `impl="dense"`, which must lie within the pattern.  Where the variant
      counts as many pairs however a prompt is cut, all cuts must see the same.

    Args:
        tokens: T of the prompt; more than a chunk, a window or a block of the variant, or it does not show.
        heads: N, K, H and D; H even.  A variant that names spans for its heads needs as many.

    Raises:
        AssertionError: the first batch row, token and head that differs by more than `atol`.
        ValueError: heads or a length that the variant does not take; one that is no softmax attention.

    Examples:
        >>> import attention
        >>> from eval.testing import assert_matches_dense
        >>> assert_matches_dense(attention.make("swa", window=7, sinks=2), tokens=31)
    """
    case = VariantCase(variant, tokens, heads, seed)
    of_kind("atol: a number", atol, Real)
    of_kind("mask: a function of the layer's input, or None", mask, (Callable, type(None)))
    case.settled.check(heads)
    if variant.component != "attention" or case.settled.useful(heads, tokens).state_flops:
        raise DoesNotApply(f"{variant} is no softmax attention to keys alone: no dense oracle says what it gives")
    layer = case.layer_input
    for steps in case.schedules():
        title = case.title(impl, steps)
        seen_bnts, by = case.oracle_mask(steps) if mask is None else (np.asarray(mask(layer)), "the mask given")
        k_bskh, v_bskh = as_array(layer.k_bskh), as_array(layer.v_bskh)
        score = getattr(variant, "score", None)
        change = change_of(score, layer.q_pos_bt, as_array(layer.kv_pos_bks), layer.q_btnh.shape[2])
        expected, _ = attend_masked(layer.q_btnh, k_bskh, v_bskh, jnp.asarray(seen_bnts), change)
        got = case.run(impl, steps)
        chex.assert_equal_shape([got, expected], custom_message=title)
        refuse_difference(got, np.asarray(expected), atol, f"{title} is not dense attention under {by}")


def assert_causal(
    variant: Mixer, *, tokens: int = 97, heads: Heads = HEADS, seed: int = 0, impl: str = "blockwise"
) -> None:
    """Asserts that no later token reaches an earlier one, not even in the last bit.

    For up to `MOST_CUTS` places in the prompt, everything from there on (layer input, queries, keys, values) becomes
    something else; what came before must stay as it was, bit for bit, and the token there must not.

    Raises:
        AssertionError: the cut, and the first token and head before it that changed.
        ValueError: heads or a length that the variant does not take.

    Examples:
        >>> import attention
        >>> from eval.testing import assert_causal
        >>> assert_causal(attention.make("moba", block=5, topk=2), tokens=31)
    """
    case = VariantCase(variant, tokens, heads, seed)
    kernel, (inputs, params) = case.kernel(impl)

    @jax.jit
    def changed_from(cut: int, inputs: Projected, params: dict[str, jax.Array]) -> jax.Array:
        def change(x: jax.Array) -> jax.Array:
            is_later = jnp.arange(tokens).reshape(-1, *[1] * (x.ndim - 2)) >= cut
            return jnp.where(is_later, -1.7 * x, x)

        return kernel(jax.tree.map(change, inputs), params).out_btnh

    before = np.asarray(changed_from(tokens, inputs, params))
    for cut in np.unique(np.linspace(0, tokens - 1, MOST_CUTS).astype(int)).tolist():
        after = np.asarray(changed_from(cut, inputs, params))
        differs = (after != before).any(axis=(0, 3))
        if differs[:cut].any():
            t, n = np.argwhere(differs[:cut])[0]
            raise AssertionError(
                f"{case.title(impl)} is not causal: head {n} of token {t} changed with the tokens from {cut} on"
            )
        if not differs[cut].all():
            n = np.flatnonzero(~differs[cut])[0]
            raise AssertionError(
                f"{case.title(impl)} is deaf: head {n} of token {cut} did not change with the tokens from {cut} on, "
                "its own key and value among them"
            )


def assert_flops_agree(
    variant: Mixer, *, tokens: int = 149, heads: Heads = HEADS, seed: int = 0, impl: str = "blockwise"
) -> None:
    """Asserts that the variant's counts are those of what runs, for one prompt in one step.

    * `useful` pairs are the keys that had a weight, counted one by one.
    * `executed` FLOPs are those of the traced program, which runs nothing.
    * `executed` pairs are those of the tiles that a run visited; at least as many under an assumption about them.

    Of a backend that does not tell what it executes, the useful pairs alone are looked at.

    A count that rests on an assumption about the tokens (`Mixer.assumption`) is compared with the traced program
    alone, which assumes the same; so is one of a recurrent state, which has no pairs, or of means of keys, which are
    more than its pairs.

    Raises:
        AssertionError: the two counts that differ.
        ValueError: heads or a length that the variant does not take; a program whose FLOPs nobody can count.

    Examples:
        >>> import attention
        >>> from eval.testing import assert_flops_agree
        >>> assert_flops_agree(attention.make("swa", window=7, sinks=2), tokens=31)
    """
    case = VariantCase(variant, tokens, heads, seed)
    settled = variant.at_length(tokens)
    useful, executed = settled.useful(heads, tokens), settled.executed(heads, tokens, impl=impl)
    kernel, arguments = case.kernel(impl, batch=1)
    if impl not in BACKENDS or BACKENDS[impl].counts != "not told":
        case.same("executed FLOPs", executed.flops(heads), "the traced program", count_flops(kernel, *arguments).total)
    about_tiles = settled.assumption.startswith("executed:")
    if (settled.assumption and not about_tiles) or settled.state_values(heads) or executed.state_flops:
        return
    seen = int(read_keys(variant, tokens, heads.n_heads, heads.n_kv_heads, seed).sum())
    case.same("useful pairs", useful.pairs, "the keys that a run gave a weight", seen)
    visited = layer_work(case.config, variant, tokens, jnp.dtype(jnp.float32), impl).visited_pairs
    if visited is not None:  # a library may not tell
        most = max(executed.pairs, visited) if about_tiles else visited
        case.same("executed pairs", executed.pairs, "the tiles that a run visited", most)
