"""A figure of the report: its panels, what they say, and the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from eval.fit import Crossover
from eval.html_report.markup import Markup, element, join
from eval.html_report.series import Series
from eval.summary import Row, Summary


@dataclass(frozen=True)
class Figure:
    """`name` is its anchor; `shape` (wide, small, map) says how large its panels are; `commands` make it again."""

    name: str
    title: str
    panels: tuple[Markup, ...]
    note: str
    commands: tuple[str, ...]
    shape: str = "wide"
    key: Markup = Markup("")

    def html(self, prefix: str = "") -> Markup:
        """The panels between what to know and the command; the heading is the section's."""
        return element(
            "figure", element("p", self.note, class_="note"), self.key,
            element("div", *self.panels, class_=f"panels {self.shape}"), reproduction(self.commands),
            id=f"{prefix}{self.name}", aria_label=self.title,
        )  # fmt: skip


def reproduction(commands: tuple[str, ...]) -> Markup:
    """The line under a figure."""
    return element("p", "Make it again: ", join((element("code", one) for one in commands), " · "), class_="again")


@dataclass(frozen=True)
class Context:
    """What figures are made from: a summary, its crossovers, how layouts look, and the command that was given."""

    summary: Summary
    measured: Mapping[str, Crossover]
    analytic: Mapping[str, int | None]
    series: Mapping[str, Series]
    command: str

    @property
    def redraw(self) -> str:
        """Draws from the kept records, and measures what is missing."""
        return self.command if "--resume" in self.command.split() else f"{self.command} --resume"

    @property
    def model(self) -> str:
        """As commands take it."""
        words = shlex.split(self.command)
        return shlex.quote(words[words.index("--model") + 1] if "--model" in words[:-1] else self.summary.config.name)

    @property
    def shown(self) -> list[tuple[Series, tuple[Row, ...]]]:
        """Each layout of the summary with its rows, shortest prompt first."""
        return [(self.series[layout], self.summary.of(layout)) for layout in self.summary.layouts]

    @cached_property
    def lengths(self) -> list[int]:
        """At which time was measured."""
        return sorted({row.tokens for row in self.summary.rows if row.whole_ms or row.attention_ms})
