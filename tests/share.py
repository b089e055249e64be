"""Suites of drawn cases cut into shares, so that as many processes draw other cases each: `--cases` and `--shares`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Share `number` of `of`; `cases` is what was asked for in all shares together, None for what CI draws."""

    cases: int | None
    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number + 1} of {self.of}"

    @property
    def seed(self) -> int:
        """1, 2, ...: 0 is that of the fast tests."""
        return 1 + self.number

    def count(self, default: int) -> int:
        """Its cases, as many as in every other share."""
        return -(-(self.cases or default) // self.of)
