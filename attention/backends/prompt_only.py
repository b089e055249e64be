"""What the libraries on NVIDIA have in common: the first step of a prompt, full or through one window without sinks.

Query i and key i stand at position i.  Whoever wants anything else takes the kernels of this project.
"""

from __future__ import annotations

import jax.numpy as jnp

from attention.backends.base import Backend, Request, takes_one_dtype, takes_spans
from attention.kernels.target import is_nvidia
from attention.pattern import SpanPattern, Spans

HEAD_SIZES = 64, 128


class PromptOnly(Backend):
    """Base: it tells neither a log-sum-exp nor which tiles ran."""

    def cannot(self, request: Request) -> str | None:
        name, q, k, pattern = self.name, request.q_btnh, request.k_bskh, request.pattern
        if reason := takes_one_dtype(name, request) or takes_spans(name, request):
            return reason
        if isinstance(pattern, Spans):
            return f"{name} takes no span per query"
        if request.need_lse:
            return f"{name} gives no log-sum-exp here"
        if request.order != "prompt":
            return f"{name} takes the first step of a prompt, whose tokens stand at 0, 1, 2, ..."
        if not is_nvidia(request.target):
            return f"{name} runs on NVIDIA GPUs, this is {request.target}"
        if q.dtype not in (jnp.bfloat16, jnp.float16):
            return f"{name} takes bfloat16 and float16, got {q.dtype}"
        if q.shape[1] != k.shape[1]:
            return f"{name} takes as many keys as queries, got {k.shape[1]} and {q.shape[1]}"
        if q.shape[-1] not in HEAD_SIZES:
            return f"{name} is used for head sizes 64 and 128, got {q.shape[-1]}"
        assert isinstance(pattern, SpanPattern)
        try:
            local_window(pattern, q.shape[1])
        except ValueError as error:
            return f"{name} takes {error}"
        return None


def local_window(pattern: SpanPattern, tokens: int) -> tuple[int, int] | None:
    """(keys before, keys after) the query that others name a window by; None for full causal attention.

    Our window counts the query's own key, theirs does not: W = left + 1.  Raises `ValueError` for sinks and for spans
    per head.
    """
    if not pattern.is_uniform:
        raise ValueError(f"one span for all heads, got {pattern}")
    [span], [sink] = set(pattern.span), set(pattern.sink)
    if span >= tokens:
        return None
    if sink:
        raise ValueError(f"no sinks, got {pattern}")
    return span - 1, 0
