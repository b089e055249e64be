"""Where the keys of a prompt's queries lie, as far as that is known before any run: what pictures draw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Stretch(NamedTuple):
    """Of each query of a prompt the keys at positions from `start_t` up to `end_t`, of which a share is seen: [T]."""

    start_t: np.ndarray
    end_t: np.ndarray
    share_t: np.ndarray


class Outline(NamedTuple):
    """The stretches of each query head, or of each kind of head, as many of one as of the other.

    Attributes:
        exact: whether the place of the keys is known, not only their number: where the tokens decide, as many as there
            are are spread evenly over where they may lie.
    """

    heads: tuple[tuple[Stretch, ...], ...]
    exact: bool


def stretch(start_t: np.ndarray, end_t: np.ndarray, share_t: np.ndarray | float = 1.0) -> Stretch:
    """A `Stretch` whose bounds and share may be single numbers."""
    return Stretch(*np.broadcast_arrays(np.maximum(start_t, 0), end_t, share_t))


def of_spans(span_t: np.ndarray, sink: int) -> tuple[Stretch, ...]:
    """A query's sinks and its span, which ends with its own key."""
    end_t = np.arange(len(span_t)) + 1
    start_t = np.maximum(end_t - span_t, 0)
    return stretch(np.zeros_like(end_t), np.minimum(sink, start_t)), stretch(start_t, end_t)


def evenly(tokens: int, share: float) -> tuple[Stretch, ...]:
    """All earlier keys and the query's own, of which a share is seen."""
    end_t = np.arange(tokens) + 1
    return (stretch(np.zeros_like(end_t), end_t, share),)
