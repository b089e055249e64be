"""Tables of the page: every cell in its place, and the rows of a layout under its number."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from eval.report.page.html_tables import table_html
from eval.report.page.series import Series
from eval.report.table import Table

TABLE = Table("Time", ("layout", "tokens", "basis"), (("a<b", "7", "x"), ("all", "9", "y")), "A **note**.", (0, 2))


def test_cells_are_in_their_places_and_rows_under_their_layouts_number():
    root = ET.fromstring(str(table_html(TABLE, {"a<b": Series(5, "a<b", "a")}, "here")))
    head, *rows = root.iter("tr")
    assert ["".join(cell.itertext()) for cell in head] == list(TABLE.header)
    assert [["".join(cell.itertext()) for cell in row] for row in rows] == [list(row) for row in TABLE.rows]
    assert [row.get("data-v") for row in rows] == ["5", None]
    assert [row.find("th/svg") is not None for row in rows] == [True, False]
    for row in (head, *rows):
        assert [cell.get("class") for cell in row] == ["words", "figures", "words"]
    assert root.get("id") == "here" and root.findtext("summary/h3") == "Time" and root.findtext(".//strong") == "note"
    assert root.findtext("summary/span") == "2 rows"
