"""Looking into jaxprs, the same way on every supported jax."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any


def open_jaxpr(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """The jaxpr and its constants, closed or not (jax 0.11 gave up the difference)."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def subjaxprs(eqn: Any) -> Iterator[Any]:
    """The jaxprs among an equation's parameters."""
    for value in eqn.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if hasattr(one, "eqns") or hasattr(one, "jaxpr"):
                yield one


def calls_named(name: str, closed: Any) -> Iterator[Any]:
    """Every equation inside a jaxpr, however deep, that calls a function of that name."""
    for eqn in open_jaxpr(closed)[0].eqns:
        if eqn.params.get("name") == name:
            yield eqn
        for jaxpr in subjaxprs(eqn):
            yield from calls_named(name, jaxpr)


def scope_within(scope: str, eqn: Any) -> str:
    """The scope of an equation inside `scope`, less transformations that wrap no name, like "vmap()"."""
    own = str(eqn.source_info.name_stack)
    while (shorter := re.sub(r"\w+\(\)/?", "", own)) != own:
        own = shorter
    return "/".join(part for part in (scope, own.strip("/")) if part)
