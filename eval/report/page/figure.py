"""A figure of the report: its panels, what they say, the command that makes it again, and those that say more."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from eval.measure.records.schema import Kind
from eval.report.crossover_fit import Crossover
from eval.report.layout_result import LayoutResult
from eval.report.page.markup import Markup, element, join
from eval.report.page.series import Series
from eval.report.summary import Summary


@dataclass(frozen=True)
class Figure:
    """`name` is its anchor; `shape` (wide, small, map) says how large its panels are.

    `command` makes it again; `related` print more on the same subject.
    """

    name: str
    title: str
    panels: tuple[Markup, ...]
    note: str
    command: str
    shape: str = "wide"
    related: tuple[str, ...] = ()

    def html(self, prefix: str = "") -> Markup:
        """The panels between what to know and the command; the heading is the section's."""
        return element(
            "figure", element("p", self.note, class_="note"),
            element("div", *self.panels, class_=f"panels {self.shape}"), reproduction(self.command, self.related),
            id=f"{prefix}{self.name}", aria_label=self.title,
        )  # fmt: skip


def reproduction(command: str, related: tuple[str, ...] = ()) -> Markup:
    """The lines under a figure."""
    lines = [element("p", "Make it again: ", element("code", command), class_="again")]
    if related:
        codes = join((element("code", one) for one in related), " · ")
        lines.append(element("p", "See also: ", codes, class_="again"))
    return join(lines)


@dataclass(frozen=True)
class Context:
    """What figures are made from: a summary, its crossovers, how layouts look, and the commands that were given.

    `commands` measured the records; the last one draws.
    """

    summary: Summary
    measured: Mapping[str, Crossover]
    analytic: Mapping[str, int | None]
    series: Mapping[str, Series]
    commands: Sequence[str]

    @property
    def redraw(self) -> str:
        """Draws from the kept records; `compare` measures what is missing."""
        words = shlex.split(self.commands[-1])
        return self.commands[-1] if words[1:2] == ["report"] else _resumed(words)

    def again(self, *kinds: Kind) -> str:
        """Measures again what a figure shows, its records of these kinds, and draws it; `redraw` where no command is
        known that measured them, or there are none.

        Each command names what it measured itself and so plans: one that ran later may plan less.
        """
        measured: dict[str, set[Kind]] = {}
        for record in self.summary.records:
            command = record.run.invocation or ""
            if record.kind in kinds and command.startswith("prefillwall compare"):
                measured.setdefault(_resumed(shlex.split(command)), set()).add(record.kind)
        of_each = (
            f"{command} --again {' '.join(kind for kind in kinds if kind in its)}" for command, its in measured.items()
        )
        return " && ".join(of_each) or self.redraw

    @property
    def model(self) -> str:
        """As commands take it."""
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument("--model", default=self.summary.config.name)
        typed = [command for command in self.commands if command.startswith("prefillwall ")]  # not called from Python
        words = [word for command in typed for word in shlex.split(command)]
        return shlex.quote(parser.parse_known_args(words)[0].model)

    @property
    def shown(self) -> list[tuple[Series, tuple[LayoutResult, ...]]]:
        """Each layout of the summary with its rows, shortest prompt first."""
        return [(self.series[layout.name], self.summary.of(layout.name)) for layout in self.summary.layouts]

    @cached_property
    def lengths(self) -> list[int]:
        """At which time was measured."""
        return sorted({row.tokens for row in self.summary.results if row.whole_ms or row.attention_ms})


def _resumed(words: Sequence[str]) -> str:
    """The command with `--resume`, and without what it measured `--again`."""
    kept, dropped = [], False
    for word in words:
        dropped = word.split("=")[0] == "--again" or (dropped and not word.startswith("-"))
        if not dropped:
            kept.append(word)
    return shlex.join(kept if "--resume" in kept else [*kept, "--resume"])
