"""The fast kernels of others on NVIDIA, for the patterns that they can express: cuDNN, and tokamax where installed.

Both take one-shot prefill, where query i and key i stand at position i, full or through one window without sinks.
Whoever wants anything else takes `attention.kernels.pallas_attention`; these refuse.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from attention.kernels.target import current_target, is_nvidia
from attention.pattern import SpanPattern

Library = Literal["cudnn", "tokamax"]


def has_tokamax() -> bool:
    """Whether the optional extra is installed."""
    return importlib.util.find_spec("tokamax") is not None


def import_tokamax() -> ModuleType:
    """The optional package, kept from parsing this program's command line, as it does on its first use."""
    import tokamax
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return tokamax


def local_window(pattern: SpanPattern, tokens: int) -> tuple[int, int] | None:
    """(keys before, keys after) the query that others name a window by; None for full causal attention.

    Our window counts the query's own key, theirs does not: W = left + 1.  Raises `NotImplementedError` for sinks and
    for spans per head.
    """
    if not pattern.is_uniform:
        raise NotImplementedError(f"cuDNN and tokamax take one span for all heads, got {pattern}")
    [span], [sink] = set(pattern.span), set(pattern.sink)
    if span >= tokens:
        return None
    if sink:
        raise NotImplementedError(f"cuDNN and tokamax know no sinks, got {pattern}")
    return span - 1, 0


def cannot(library: str, q_btnh: jax.Array, k_bskh: jax.Array, pattern: SpanPattern) -> str | None:
    """Why `library` cannot serve these operands on this device, None if it can; from shapes and the pattern alone."""
    if library not in get_args(Library):
        raise ValueError(f"no such library {library!r}; accepted: {', '.join(get_args(Library))}")
    target = current_target()
    if not is_nvidia(target):
        return f"{library} runs on NVIDIA GPUs, this is {target}"
    if library == "tokamax" and not has_tokamax():
        return "tokamax is not installed"
    if q_btnh.dtype not in (jnp.bfloat16, jnp.float16):
        return f"{library} takes bfloat16 and float16, got {q_btnh.dtype}"
    if q_btnh.shape[1] != k_bskh.shape[1]:
        return f"{library} takes as many keys as queries, got {k_bskh.shape[1]} and {q_btnh.shape[1]}"
    if q_btnh.shape[-1] not in (64, 128):
        return f"{library} is used for head sizes 64 and 128, got {q_btnh.shape[-1]}"
    try:
        local_window(pattern, q_btnh.shape[1])
    except NotImplementedError as error:
        return str(error)
    return None


def attend_nvidia(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, pattern: SpanPattern, *, library: Library
) -> jax.Array:
    """`attend_dense` for positions 0..T-1, [B, T, N, H].  Raises `NotImplementedError` for what `cannot` names."""
    reason = cannot(library, q_btnh, k_bskh, pattern)
    if reason:
        raise NotImplementedError(reason)
    window = local_window(pattern, q_btnh.shape[1])
    if library == "cudnn":
        attention, implementation = jax.nn.dot_product_attention, "cudnn"
    else:
        attention, implementation = import_tokamax().dot_product_attention, "mosaic"
    return attention(q_btnh, k_bskh, v_bskh, is_causal=True, local_window_size=window, implementation=implementation)
