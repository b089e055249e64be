"""Tables as Markdown, where signs of Markdown stay as they are, and in a terminal, where no figure is cut."""

from __future__ import annotations

import io
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from eval.report.table import Table


def test_markdown_has_words_to_the_left_and_figures_to_the_right():
    one = Table("Time", ("layout", "tokens", "basis"), (("a|b", "7", "x_y*"),), "Said.", (0, 2))
    lines = ["| layout | tokens | basis |", "| --- | ---: | --- |", r"| a\|b | 7 | x\_y\* |"]
    assert one.to_markdown().splitlines() == ["## Time", "", "Said.", "", *lines]


WORDS = st.text("abcxyz", min_size=1, max_size=17)
FIGURES = st.text("0123456789", min_size=1, max_size=19)


@st.composite
def drawn_tables(draw) -> Table:
    """Up to seven columns of figures beside names of up to three words."""
    names = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
    width = draw(st.integers(1, 7))
    rows = draw(st.lists(st.tuples(names, *[FIGURES] * width), min_size=1, max_size=3))
    return Table("Time", ("layout", *(f"of {i}" for i in range(width))), tuple(rows), "Said.")


@given(drawn_tables(), st.integers(40, 120))
def test_a_terminal_of_any_width_has_every_figure_whole(table, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    printed = " ".join(lines).split()
    for row in table.rows:
        assert all(printed.count(figure) >= sum(figure in one for one in table.rows) > 0 for figure in row[1:])


def test_parts_repeat_the_names_and_end_with_the_note():
    wide = Table("Time", ("layout", "a", "b", "c"), (("full", "1" * 13, "2" * 13, "3" * 7),), "Said.")
    assert wide.within(99) == [wide]
    first, second = wide.within(7 + 13 + 1 + 13)
    assert first == Table("Time (1 of 2)", ("layout", "a", "b"), (("full", "1" * 13, "2" * 13),))
    assert second == Table("Time (2 of 2)", ("layout", "c"), (("full", "3" * 7),), "Said.")
    keyed = replace(wide, keys=(1,))  # "a" tells rows apart
    assert [part.header for part in keyed.within(7 + 14 + 1 + 13)] == [("layout", "a", "b"), ("layout", "a", "c")]
    assert [part.keys for part in keyed.within(7 + 14 + 1 + 13)] == [(1,), (1,)]
    assert [part.header for part in wide.within(7 + 13 + 1 + 12)] == [("layout", "a"), ("layout", "b", "c")]
