"""A table as text cells, printed twice: by rich and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.table


@dataclass(frozen=True)
class Table:
    """Cells as text, figures to the right; the columns in `words` hold words."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: tuple[int, ...] = (0,)

    def __bool__(self) -> bool:
        return bool(self.rows)

    def without_constant(self, name: str) -> Table:
        """The table without the column `name` where all its cells are the same, which the title says then."""
        if name not in self.header:
            return self
        place = self.header.index(name)
        values = {row[place] for row in self.rows}
        if len(values) != 1:
            return self
        header, *rows = (line[:place] + line[place + 1 :] for line in (self.header, *self.rows))
        words = tuple(word - (word > place) for word in self.words)
        return Table(f"{self.title}: {values.pop()} {name}", header, tuple(rows), self.note, words)

    def to_markdown(self) -> str:
        rule = ("---" if place in self.words else "---:" for place in range(len(self.header)))
        lines = [map(_escape, self.header), rule, *(map(_escape, row) for row in self.rows)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {self.title}\n\n" + (f"{self.note}\n\n" if self.note else "") + body + "\n"

    def to_rich(self) -> rich.table.Table:
        import rich.box
        import rich.table
        from rich.text import Text

        table = rich.table.Table(
            title=Text(self.title, "bold"), caption=Text(self.note.replace("*", "").replace("`", ""), "dim"),
            title_justify="left", caption_justify="left", box=rich.box.SIMPLE_HEAD, padding=0, show_edge=False,
        )  # fmt: skip
        for place, name in enumerate(self.header):
            words = place in self.words
            table.add_column(Text(name), justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def _escape(cell: str) -> str:
    """For a cell of a Markdown table."""
    for plain, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_"), ("\n", " ")):
        cell = cell.replace(plain, safe)
    return cell
