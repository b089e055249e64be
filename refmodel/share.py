"""A parameter's share of a stored tensor that holds others as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """Rows `start` to `stop` of each of `groups` equal parts of the first axis, which have `size` rows each.

    Examples:
        >>> Share(groups=2, size=3, start=1, stop=3).of(np.arange(6)).tolist()
        [1, 2, 4, 5]
    """

    groups: int
    size: int
    start: int
    stop: int

    def of(self, stored: np.ndarray) -> np.ndarray:
        """The share of a stored tensor."""
        rest = stored.shape[1:]
        return stored.reshape(self.groups, self.size, *rest)[:, self.start : self.stop].reshape(-1, *rest)

    def put(self, stored: np.ndarray, share: np.ndarray) -> None:
        """Writes the share into a stored tensor: what `of` takes out of it."""
        rest = stored.shape[1:]
        rows = stored.reshape(self.groups, self.size, *rest)[:, self.start : self.stop]
        rows[...] = share.reshape(rows.shape)

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the tensor that a share of this shape is of."""
        return (self.groups * self.size, *shape[1:])
