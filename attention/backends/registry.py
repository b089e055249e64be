"""The backends that `impl=` can name, and which of them is taken; one of your own comes in by `BACKENDS.register`."""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp

from attention.backends.base import Backend, CannotRun, Request
from attention.backends.blockwise import Blockwise
from attention.backends.cudnn import Cudnn
from attention.backends.decode import Decode
from attention.backends.dense import Dense
from attention.backends.mosaic import Mosaic
from attention.backends.pallas import Pallas
from attention.backends.tokamax import Tokamax
from attention.chosen import Choice, TokenChoice
from attention.pattern import SpanPattern
from attention.registry import Registry
from attention.unknown import unknown

BACKENDS: Final[Registry[Backend]] = Registry(
    "attention implementation",
    lambda backend: backend.name,
    (Dense(), Blockwise(), Pallas(), Decode(), Mosaic(), Cudnn(), Tokamax()),
)


_BUILT_IN: Final = frozenset(BACKENDS)


def auto_goes_by_shape() -> bool:
    """Whether shapes alone say what `auto` takes where there is no GPU: they do until others have a place in line."""
    return all(name in _BUILT_IN for name, one in BACKENDS.items() if one.place is not None)


def impl_names() -> tuple[str, ...]:
    """What `impl=` and `--impl` accept: `auto`, and the backends by name."""
    return ("auto", *BACKENDS)


def choose(request: Request, impl: str = "auto") -> Backend:
    """The backend that runs `request`: the named one, or for `auto` the first by `place` that pays and can.

    Raises `ValueError` for an unknown name, and `CannotRun` for a backend that cannot run this: a named one never falls
    back.
    """
    if request.scored and isinstance(request.pattern, Choice):
        tokens = isinstance(request.pattern, TokenChoice)
        by = "keys are chosen by scores of their own" if tokens else "blocks are chosen by plain scores"
        raise ValueError(f"a function of scores: {by}, which none changes")
    if impl != "auto":
        backend = _named(impl)
        if reason := _cannot(backend, request):
            raise CannotRun(f"attention by {impl}: {reason}")
        return backend
    in_line = sorted((one.place, name) for name, one in BACKENDS.items() if one.place is not None)
    able = (BACKENDS[name] for _, name in in_line)
    return next(one for one in able if one.pays(request) and _cannot(one, request) is None)


def _cannot(backend: Backend, request: Request) -> str | None:
    """`Backend.cannot`, after what all of them have in common."""
    if request.scored and not backend.takes_scores:
        able = ", ".join(name for name, one in BACKENDS.items() if one.takes_scores)
        return f"{backend.name} takes no function of scores, these do: {able}"
    return backend.cannot(request)


def counted_as(impl: str, q_tokens: int, kv_tokens: int) -> Backend:
    """The backend whose closed form counts a call of so many queries and slots, before anything runs.

    The named one; for `auto` what it takes by shape, which holds where there is no GPU and `auto_goes_by_shape`.
    """
    if impl != "auto":
        return _named(impl)
    q, k = (jax.ShapeDtypeStruct((1, tokens, 1, 1), jnp.float32) for tokens in (q_tokens, kv_tokens))
    return choose(Request(q, k, SpanPattern(), "any", need_lse=False, target="cpu"))


def _named(impl: str) -> Backend:
    if impl not in BACKENDS:
        raise ValueError(unknown("attention implementation", impl, impl_names()))
    return BACKENDS[impl]
