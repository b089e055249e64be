"""Tokens of a step that no event divides."""

from __future__ import annotations

from typing import Any, NamedTuple


class Piece(NamedTuple):
    """Where a piece stands; integers, or arrays for a scan.

    Attributes:
        length: tokens of the sequence before it.
        place: the slot of its first token.
        first: the first slot that holds a key, as all later ones up to `place` do; with per-head budgets, that may.
        opens: whether a chunk starts here.
        event: whether keys go after it.
    """

    length: Any
    place: Any
    first: Any
    opens: Any
    event: Any
