"""Tables as Markdown: words to the left, figures to the right, and signs of Markdown as they are."""

from __future__ import annotations

from eval.report.table import Table


def test_markdown_has_words_to_the_left_and_figures_to_the_right():
    one = Table("Time", ("layout", "tokens", "basis"), (("a|b", "7", "x_y*"),), "Said.", (0, 2))
    lines = ["| layout | tokens | basis |", "| --- | ---: | --- |", r"| a\|b | 7 | x\_y\* |"]
    assert one.to_markdown().splitlines() == ["## Time", "", "Said.", "", *lines]
