"""What is remembered of a layer holds for one target and the backends of one time: others take other kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from attention.backends.base import Backend
from attention.backends.registry import BACKENDS
from attention.kernels.target import current_target

P = ParamSpec("P")
R = TypeVar("R")


def cached_by_target(function: Callable[P, R]) -> Callable[P, R]:
    """`functools.cache` that asks again where another device is compiled for, or other backends are registered."""

    @cache
    def on_target(target: str, backends: tuple[Backend, ...], *args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return on_target(current_target(), tuple(BACKENDS.values()), *args, **kwargs)  # type: ignore[arg-type]  # hashable, as cache has it

    return call
