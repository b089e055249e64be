"""The one entry to attention: the same call serves one-shot prefill, chunked prefill and decode."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attention.attended import Attended
from attention.backends.base import Operands, Order, Pattern, Request
from attention.backends.registry import choose
from attention.checks import has_axes, of_floats, of_whole_numbers
from attention.chosen import ChosenBlocks, ChosenTokens, TokenChoice
from attention.kernels.score import Score
from attention.kernels.target import current_target
from attention.pattern import OnEither, Spans
from attention.stacked import InStack, as_array


def attend(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"] | InStack,
    v_bskh: Float[Array, "b s k h"] | InStack,
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b #k s"] | InStack,
    pattern: Pattern,
    *,
    impl: str = "auto",
    need_lse: bool = False,
    order: Order = "any",
    score: Score | None = None,
) -> Attended:
    """Attention of T queries to S slots under `pattern`, and what ran for it.

    Args:
        q_btnh: queries, rotary positions applied.
        k_bskh, v_bskh: keys and values; query head n reads key-value head n // (N / K).  Where they and their positions
            are a layer of stacks, or that and a token beside it, a backend that can reads them where they lie; for the
            others they are copied out.
        q_pos_bt: position of each query, -1 for padding, whose output is 0.  A leading 1 means shared by the batch.
        kv_pos_bks: position of each slot, -1 for an empty one.  Leading 1s mean shared by the batch or by the heads.
        impl: a name out of `attention.backends.registry.BACKENDS` (`dense`, `blockwise`, on GPUs also `pallas` and,
            for few queries, `decode`, on Hopper `mosaic`, on NVIDIA's `cudnn` and `tokamax`), or `auto` (see
            `choose_impl`).
        pattern: static spans, or `Spans` that are data; where those have few values, the blockwise path packs queries;
            or a choice of keys, or of blocks of them.
        need_lse: whether `Attended.lse_bnt` will be read; then `auto` takes nobody who does not give it.
        order: what is known of positions, which as data cannot say it.  `keys`: slot i stands at position i, or is
            empty and beyond every query, as `mosaic` needs it.  `prompt`: query i stands there too, and nothing is
            empty, as in the first step of a prompt: for cuDNN and tokamax.
        score: changes the scores of visible pairs (ALiBi, soft caps, documents): `attention.kernels.score.Score`.  It
            reads constants, and has a reverse mode of its own; pairs that it hides are computed and counted all the
            same.  `dense` and `blockwise` take it.

    Raises:
        ValueError: empty operands, shapes or dtypes that do not belong together, an unknown `impl` or `order`, or a
            named implementation that cannot run this.
    """
    operands = Operands(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern)
    if pattern is None or isinstance(pattern, str | type):
        raise ValueError(f"a pattern is wanted, such as Full().pattern(), got {pattern!r}")
    _check(operands)
    backend = choose(_request(q_btnh, k_bskh, pattern, order, need_lse, score is not None), impl)
    if not backend.reads_stacks:
        k, v, kv_pos = map(as_array, (k_bskh, v_bskh, kv_pos_bks))
        operands = operands._replace(k_bskh=k, v_bskh=v, kv_pos_bks=kv_pos)
    scored = {} if score is None else {"score": score}
    attended = backend.run(operands, need_lse=need_lse, **scored)
    if need_lse and attended.lse_bnt is None:
        raise ValueError(f"attention by {backend.name} gave no log-sum-exp, which its `cannot` must say")
    return replace(attended, impl=(backend.name,))


def choose_impl(
    q_btnh: jax.Array | jax.ShapeDtypeStruct, k_bskh: jax.Array | InStack | jax.ShapeDtypeStruct, pattern: Pattern, *,
    impl: str = "auto", order: Order = "any", need_lse: bool = False, score: Score | None = None,
) -> str:  # fmt: skip
    """The backend that `attend` will run for such operands on the device that is compiled for.

    `auto` on a GPU: few queries of many keys are `decode`, a few scores dense; then whoever can express the step of
    Hopper's kernel, where there are queries for a tile of it, cuDNN, the portable Pallas kernel and blockwise, in this
    order.  Elsewhere dense or blockwise.

    Raises:
        ValueError: an unknown order or implementation, or a named one that cannot run this: it never falls back.
    """
    return choose(_request(q_btnh, k_bskh, pattern, order, need_lse, score is not None), impl).name


def _request(
    q_btnh: jax.Array | jax.ShapeDtypeStruct, k_bskh: jax.Array | InStack | jax.ShapeDtypeStruct, pattern: Pattern,
    order: Order, need_lse: bool, scored: bool = False,
) -> Request:  # fmt: skip
    if order not in get_args(Order):
        raise ValueError(f"no order {order!r} of positions; accepted: {', '.join(get_args(Order))}")
    return Request(q_btnh, k_bskh, pattern, order, need_lse, current_target(), scored)


def _check(operands: Operands) -> None:
    """Raises `ValueError` for operands that do not belong together, in one line."""
    q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern = operands
    told = (("q", q_btnh, "[B, T, N, H]"), ("k", k_bskh, "[B, S, K, H]"), ("v", v_bskh, "[B, S, K, H]"))
    for name, array, axes in told:
        has_axes(name, array, axes)
        of_floats(name, array)
    for name, positions, axes in (("q_pos", q_pos_bt, "[B or 1, T]"), ("kv_pos", kv_pos_bks, "[B or 1, K or 1, S]")):
        has_axes(name, positions, axes)
        of_whole_numbers(name, positions)
    (b, t, n, h), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    expected = {"k": (b, s, k, h), "v": (b, s, k, h)}
    for name, array in (("k", k_bskh), ("v", v_bskh)):
        if array.shape != expected[name]:
            raise ValueError(
                f"{name} must be [B, S, K, H] = {expected[name]} to fit q {q_btnh.shape}, got {array.shape}"
            )
    if not q_btnh.size or not k_bskh.size:
        raise ValueError(f"attention takes at least one of each size, got q {q_btnh.shape} and k {k_bskh.shape}")
    if k_bskh.dtype != v_bskh.dtype:
        raise ValueError(f"k and v must have one dtype, got {k_bskh.dtype} and {v_bskh.dtype}")
    if n % k:
        raise ValueError(f"{n} query heads are not a multiple of {k} key-value heads")
    if q_pos_bt.shape not in ((b, t), (1, t)):
        raise ValueError(f"q_pos must be [B or 1, T] = {(b, t)}, got {q_pos_bt.shape}")
    if kv_pos_bks.shape not in {(i, j, s) for i in (b, 1) for j in (k, 1)}:
        raise ValueError(f"kv_pos must be [B or 1, K or 1, S] = {(b, k, s)}, got {kv_pos_bks.shape}")
    if isinstance(pattern, Spans) and (
        pattern.span_bmt.shape not in {(i, m, j) for i in (b, 1) for m in (1, k, n) for j in (t, 1)}
        or pattern.sink_m.shape not in {(m,) for m in (1, k, n)}
    ):
        raise ValueError(
            f"spans must be [B or 1, 1 or K or N, T or 1] = {(b, (k, n), t)} with sinks [1 or K or N], got "
            f"{pattern.span_bmt.shape} and {pattern.sink_m.shape}"
        )
    _check_choice(operands)


def _check_choice(operands: Operands) -> None:
    """The same of keys or blocks that are chosen already."""
    q_btnh, k_bskh, _, _, kv_pos_bks, pattern = operands
    (b, t, n, _), k = q_btnh.shape, k_bskh.shape[2]
    match pattern:
        case ChosenTokens(chosen_btj=chosen):
            name, axes = "chosen keys", "[B or 1, T, choices]"
        case ChosenBlocks(chosen_jbtm=chosen):
            name, axes = "chosen blocks", "[choices, B or 1, T, 1 or K or N]"
        case TokenChoice():
            raise ValueError(f"keys that are chosen already are wanted, ChosenTokens, got {pattern}")
        case _:
            return
    has_axes(name, chosen, axes)
    if chosen.dtype != jnp.int32:  # of fewer bits positions wrap
        raise ValueError(f"{name} must be int32, got {chosen.dtype}")
    if not chosen.size:
        raise ValueError(f"{name} must be {axes} with at least one choice, got {chosen.shape}")
    if isinstance(pattern, ChosenTokens) and (
        pattern.chosen_btj.shape[:2] not in ((b, t), (1, t)) or kv_pos_bks.shape[1] > 1
    ):
        raise ValueError(
            f"chosen keys must be [B or 1, T, choices] with [B, T] = {[b, t]} and slots the same for all heads, got "
            f"{pattern.chosen_btj.shape} and slots {kv_pos_bks.shape}"
        )
    if isinstance(pattern, ChosenBlocks) and (
        pattern.chosen_jbtm.shape[1:] not in {(i, t, m) for i in (b, 1) for m in (1, k, n)}
    ):
        raise ValueError(
            f"chosen blocks must be [choices, B or 1, T, 1 or K or N] with [B, T, (K, N)] = {[b, t, (k, n)]}, got "
            f"{pattern.chosen_jbtm.shape}"
        )
