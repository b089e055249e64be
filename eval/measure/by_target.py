"""What is remembered of a layer holds for one target: another device takes other kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from attention.kernels.target import current_target

P = ParamSpec("P")
R = TypeVar("R")


def cached_by_target(function: Callable[P, R]) -> Callable[P, R]:
    """`functools.cache` that asks again where another device is compiled for."""

    @cache
    def on_target(target: str, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return on_target(current_target(), *args, **kwargs)  # type: ignore[arg-type]  # hashable, as cache has it

    return call
