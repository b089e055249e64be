"""How near published rows are to one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.cost.efficiency.effects import codes
from eval.cost.published import Measured

SERIES = "of its series"


@dataclass(frozen=True)
class Relations:
    """A code per row for each relation, nearest first."""

    codes: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, rows: Sequence[Measured]) -> Relations:
        return cls(
            {
                SERIES: codes([row.series for row in rows]),
                "of its model and weights": codes([(row.model, row.bits) for row in rows]),
                "of its compiler or driver": codes([row.setup.stack for row in rows]),
            }
        )

    def beside(self, i: int, left_out: Sequence[int]) -> tuple[list[int], str]:
        """The rows of i's series without those left out, and how many other rows are how near, in words."""
        left = np.ones(self.codes[SERIES].size, bool)
        left[left_out] = False
        series = np.flatnonzero(left & (self.codes[SERIES] == self.codes[SERIES][i])).tolist()
        words = []
        for name, code in self.codes.items():
            near = left & (code == code[i])
            left &= ~near
            if near.any():
                words.append(f"{near.sum()} rows {name}")
        return series, ", ".join(words) or "rows of other models and builds"
