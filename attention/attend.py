"""The one entry to attention: the same call serves one-shot prefill, chunked prefill and decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import jax

from attention.attended import Attended
from attention.kernels.block_routed import BlockChoice, attend_chosen, attend_chosen_dense
from attention.kernels.blockwise import attend_blockwise
from attention.kernels.dense import attend_dense
from attention.kernels.mosaic_item import ROWS
from attention.kernels.nvidia import attend_nvidia, cannot
from attention.kernels.pallas_blocks import attend_pallas_blocks
from attention.kernels.pallas_spans import ON_KERNEL, mosaic_cannot, pallas_cannot
from attention.kernels.target import current_target, is_gpu
from attention.pattern import SpanPattern, Spans

Impl = Literal["auto", "dense", "blockwise", "pallas", "mosaic", "cudnn", "tokamax"]
Pattern = SpanPattern | Spans | BlockChoice
Order = Literal["any", "keys", "prompt"]

DENSE_SCORES_LIMIT = 2**16
"""`auto` materialises the scores of a head only up to this many; decode steps and toy prompts stay below."""


def resolve_impl(impl: str, q_tokens: int, kv_tokens: int) -> str:
    """What `auto` is by shape alone, which holds wherever there is no GPU; a named one as it is."""
    if impl not in get_args(Impl):
        raise ValueError(f"no attention implementation {impl!r}; accepted: {', '.join(get_args(Impl))}")
    if impl != "auto":
        return impl
    return "dense" if q_tokens * kv_tokens <= DENSE_SCORES_LIMIT else "blockwise"


def choose_impl(
    q_btnh: jax.Array, k_bskh: jax.Array, pattern: Pattern, *, impl: str = "auto", order: Order = "any",
    need_lse: bool = False,
) -> str:  # fmt: skip
    """What `attend` will run for such operands on the device that is compiled for.

    `auto` on a GPU: a few scores are dense; then whoever can express the step of Hopper's kernel, where there are
    queries for a tile of it, cuDNN, the portable Pallas kernel and blockwise, in this order.  Elsewhere `resolve_impl`.

    Raises:
        ValueError: an unknown order or implementation, or a named one that cannot run this: it never falls back.
    """
    if order not in get_args(Order):
        raise ValueError(f"no order {order!r} of positions; accepted: {', '.join(get_args(Order))}")
    by_shape = resolve_impl(impl, q_btnh.shape[1], k_bskh.shape[1])
    target = current_target()
    if impl in ("dense", "blockwise") or (impl == "auto" and (by_shape == "dense" or not is_gpu(target))):
        return by_shape
    for_auto = ("mosaic", "cudnn", "pallas") if q_btnh.shape[1] >= 2 * ROWS else ("cudnn", "pallas")
    candidates = for_auto if impl == "auto" else (impl,)
    for candidate in candidates:
        reason = _cannot(candidate, q_btnh, k_bskh, pattern, order, need_lse, target)
        if reason is None:
            return candidate
    if impl != "auto":
        raise ValueError(f"attention by {impl}: {reason}")
    return "blockwise"


def _cannot(candidate, q_btnh, k_bskh, pattern, order, need_lse, target) -> str | None:
    """Why a GPU implementation cannot run this, None if it can."""
    if q_btnh.dtype != k_bskh.dtype:
        return f"{candidate} takes q, k and v of one dtype, got {q_btnh.dtype} and {k_bskh.dtype}"
    if candidate == "pallas":
        return pallas_cannot(q_btnh, target)
    if isinstance(pattern, BlockChoice):
        return f"{candidate} takes spans, not blocks that queries choose"
    if candidate == "mosaic":
        return mosaic_cannot(q_btnh, target, order in ("keys", "prompt"))
    if isinstance(pattern, Spans):
        return f"{candidate} takes no span per query"
    if need_lse:
        return f"{candidate} gives no log-sum-exp here"
    if order != "prompt":
        return f"{candidate} takes the first step of a prompt, whose tokens stand at 0, 1, 2, ..."
    return cannot(candidate, q_btnh, k_bskh, pattern)


def reporting_kernel(impl: str, pattern: Pattern) -> Callable[..., Attended] | None:
    """The kernel of a chosen implementation that tells which tiles it visited; None where that is none."""
    if impl == "pallas" and isinstance(pattern, BlockChoice):
        return attend_pallas_blocks
    return ON_KERNEL.get(impl)


def attend(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array,
    pattern: Pattern,
    *,
    impl: str = "auto",
    need_lse: bool = False,
    order: Order = "any",
) -> Attended:
    """Attention of T queries to S slots under `pattern`.

    Args:
        q_btnh: queries, rotary positions applied.
        k_bskh, v_bskh: keys and values; query head n reads key-value head n // (N / K).
        q_pos_bt: position of each query, -1 for padding, whose output is 0.  A leading 1 means shared by the batch.
        kv_pos_bks: position of each slot, -1 for an empty one.  Leading 1s mean shared by the batch or by the heads.
        impl: `dense`, `blockwise`, on GPUs also `pallas`, on Hopper `mosaic`, on NVIDIA's `cudnn` and `tokamax`, or
            `auto` (see `choose_impl`).
            `blockwise` has no reverse-mode derivative: its loops are as long as the positions say.
        pattern: static spans, or `Spans` that are data; where those have few values, the blockwise path packs queries;
            or a choice of blocks of keys.
        need_lse: whether `Attended.lse_bnt` will be read; then `auto` takes nobody who does not give it.
        order: what is known of positions, which as data cannot say it.  `keys`: slot i stands at position i, or is
            empty and beyond every query, as `mosaic` needs it.  `prompt`: query i stands there too, and nothing is
            empty, as in the first step of a prompt: for cuDNN and tokamax.

    Raises:
        ValueError: empty operands, shapes or dtypes that do not belong together, an unknown `impl` or `order`, or a
            named implementation that cannot run this.
    """
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
    dense, blockwise = (
        (attend_chosen_dense, attend_chosen) if isinstance(pattern, BlockChoice) else (attend_dense, attend_blockwise)
    )
    chosen = choose_impl(q_btnh, k_bskh, pattern, impl=impl, order=order, need_lse=need_lse)
    if chosen in ("cudnn", "tokamax"):
        return Attended(attend_nvidia(q_btnh, k_bskh, v_bskh, pattern, library=chosen), impl=(chosen,))
    if kernel := reporting_kernel(chosen, pattern):
        found = kernel(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern, return_lse=need_lse)
        return replace(found, impl=(chosen,))
    if chosen == "dense":
        return Attended(*dense(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern), impl=(chosen,))
    return replace(blockwise(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern), impl=(chosen,))
