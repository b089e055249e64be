"""The tables of the report as HTML: rows of a layout go when it is switched off."""

from __future__ import annotations

import re
from collections.abc import Mapping

from eval.report.page.markup import Markup, element
from eval.report.page.series import Series
from eval.report.table import Table


def table_html(table: Table, series: Mapping[str, Series], name: str) -> Markup:
    """Behind a line that opens it, in a box that scrolls by itself."""
    head = element(
        "tr", *(element("th", _lines(cell), scope="col", class_=_side(table, i)) for i, cell in enumerate(table.header))
    )
    rows = [_row(table, row, series) for row in table.rows]
    caption = element("caption", table.title, class_="unseen")
    box = element(
        "div", element("table", caption, element("thead", head), element("tbody", *rows)),
        class_="scroll", tabindex="0", role="region", aria_label=f"{table.title}, table",
    )  # fmt: skip
    note = element("p", prose(table.note), class_="note") if table.note else ""
    title = element("h3", table.title), element("span", f"{len(table.rows)} rows", class_="count")
    return element("details", element("summary", *title), note, box, id=name)


def prose(markdown: str) -> Markup:
    """A note with its `code`, *emphasis* and **weight**."""
    parts = re.split(r"(`[^`]+`|\*\*[^*]+\*\*|\*[^* ][^*]*\*(?!\w))", markdown)
    return element("span", *(_word(part) for part in parts))


def _word(part: str) -> object:
    for mark, tag in (("`", "code"), ("**", "strong"), ("*", "em")):
        if part.startswith(mark) and part.endswith(mark) and len(part) > 2 * len(mark):
            return element(tag, part[len(mark) : -len(mark)])
    return part


def _row(table: Table, row: tuple[str, ...], series: Mapping[str, Series]) -> Markup:
    one = series.get(row[0])
    first = element("th", one.swatch() if one else "", row[0], scope="row", class_=_side(table, 0))
    cells = (element("td", cell, class_=_side(table, place)) for place, cell in enumerate(row[1:], 1))
    return element("tr", first, *cells, data_v=one.number if one else None)


def _side(table: Table, place: int) -> str:
    return "words" if place in table.words else "figures"


def _lines(cell: str) -> Markup:
    return element("span", cell.replace("\n", " "))
