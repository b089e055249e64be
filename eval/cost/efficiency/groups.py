"""What is left out together: each scheme asks another question of the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from eval.cost.published import Measured


def _is_long(row: Measured) -> bool:
    return row.depth > 0 or row.kind == "whole prompt"


def _only_long(key: Callable[[Measured], object]) -> Callable[[Measured], object]:
    return lambda row: key(row) if _is_long(row) else None


def _build(row: Measured) -> object:
    return row.setup.stack, row.setup.attention, row.setup.blas


SCHEMES: Final[Mapping[str, Callable[[Measured], object]]] = MappingProxyType(
    {
        "row": lambda row: row,
        "long rows of a series": _only_long(lambda row: row.series),
        "long rows of a model": _only_long(lambda row: (row.model, row.bits, row.decode)),
        "build": _build,
        "revision": lambda row: row.setup.build,
        "model": lambda row: row.model,
    }
)
"""A group's key by row, None for a row that is kept.  "row": one at a time.  "long rows of ...": those at depth and
whole prompts; of a model: in every build, one quantisation at a time.  "build": all rows of a compiler or driver,
attention kernel and BLAS.  "revision": all rows of a version of the engine.  "model": all rows of a model, in every
quantisation."""


def groups(rows: Sequence[Measured], scheme: str) -> list[list[int]]:
    """Indices of the rows to leave out together."""
    found: dict[object, list[int]] = {}
    for i, row in enumerate(rows):
        key = (i,) if scheme == "row" else SCHEMES[scheme](row)
        if key is not None:
            found.setdefault(key, []).append(i)
    return list(found.values())
