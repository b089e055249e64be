"""A table as text cells, printed twice: by rich and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eval.report.number_format import NOTHING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


@dataclass(frozen=True)
class Table:
    """Cells as text, figures to the right; the columns in `words` hold words, those in `keys` tell rows apart."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: tuple[int, ...] = (0,)
    keys: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rows)

    def without_constant(self, *names: str) -> Table:
        """The table without those of the named columns that say one and the same, which the title says then."""
        found = {place: {row[place] for row in self.rows} for place, name in enumerate(self.header) if name in names}
        constant = {place: value for place, (value, *more) in found.items() if not more and value != NOTHING}
        if not constant:
            return self
        said = ", ".join(f"{value} {self.header[place]}" for place, value in constant.items())
        return self._only([one for one in range(len(self.header)) if one not in constant], f"{self.title}: {said}")

    def within(self, width: int) -> list[Table]:
        """The table in as many parts as it takes to show every column whole in `width` characters.

        Keys and columns of words, which may break between words, stand in each part; the note stands under the last.
        """
        repeated = {*self.words, *self.keys}
        room = width - min(sum(1 + self._least(place) for place in repeated), width // 2)
        parts: list[list[int]] = [[]]
        for place in (one for one in range(len(self.header)) if one not in repeated):
            if parts[-1] and sum(1 + self._least(one) for one in (*parts[-1], place)) - 1 > room:
                parts.append([])
            parts[-1].append(place)
        if len(parts) == 1:
            return [self]
        titled = [
            self._only(sorted((*repeated, *part)), f"{self.title} ({number} of {len(parts)})")
            for number, part in enumerate(parts, 1)
        ]
        return [*(replace(part, note="") for part in titled[:-1]), titled[-1]]

    def _least(self, place: int) -> int:
        """Characters that a column needs: of words the longest, of figures the longest line."""
        cells = [self.header[place], *(row[place] for row in self.rows)]
        pieces = (cell.split() if place in self.words else cell.splitlines() for cell in cells)
        return max((len(piece) for some in pieces for piece in some), default=0)

    def _only(self, places: Sequence[int], title: str) -> Table:
        header, *rows = (tuple(line[place] for place in places) for line in (self.header, *self.rows))
        words, keys = (tuple(i for i, one in enumerate(places) if one in kind) for kind in (self.words, self.keys))
        return Table(title, header, tuple(rows), self.note, words, keys)

    def to_markdown(self) -> str:
        rule = ("---" if place in self.words else "---:" for place in range(len(self.header)))
        lines = [map(_escape, self.header), rule, *(map(_escape, row) for row in self.rows)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {self.title}\n\n" + (f"{self.note}\n\n" if self.note else "") + body + "\n"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """As rich prints it: nothing is cut; what is too wide stands in parts, one below the other."""
        for part in self.within(options.max_width):
            yield part._rich(options.max_width)
            yield ""

    def _rich(self, width: int) -> RenderableType:
        import rich.box
        import rich.table
        from rich.text import Text

        table = rich.table.Table(
            title=Text(self.title, "bold"), caption=Text(self.note.replace("*", "").replace("`", ""), "dim"),
            title_justify="left", caption_justify="left", box=rich.box.SIMPLE_HEAD, padding=0, show_edge=False,
        )  # fmt: skip
        for place, name in enumerate(self.header):
            words = place in self.words
            breaks = words or self._least(place) > width
            table.add_column(Text(name), justify="left" if words else "right", no_wrap=not breaks, overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def _escape(cell: str) -> str:
    """For a cell of a Markdown table."""
    for plain, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_"), ("\n", " ")):
        cell = cell.replace(plain, safe)
    return cell
