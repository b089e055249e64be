"""A package's entry points, imported when they are first asked for: a command pays for what it uses and no more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` (PEP 562) of a package, given the module that each of its names comes from.

    A name comes from the object of that name in its module, or from another one: `{"load": "refmodel.source:open"}`.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; its names: {', '.join(modules)}")
        module, _, other = modules[name].partition(":")
        return getattr(import_module(module), other or name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
