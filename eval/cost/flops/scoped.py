"""FLOPs by scope: what every way of counting a program returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ScopedFlops:
    """FLOPs by named scope ("ffn/experts"), exact integers."""

    by_scope: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_scope.values())

    def grouped(self, name_of: Callable[[str], str]) -> dict[str, int]:
        """The counts under other names: of components, or of the first so many parts of a scope."""
        groups: dict[str, int] = {}
        for scope, flops in self.by_scope.items():
            groups[name_of(scope)] = groups.get(name_of(scope), 0) + flops
        return groups
