"""What commands print, also on terminals that are narrower than their tables."""

from __future__ import annotations

import io

import pytest

from eval.commands.output import Console, longest_fit, table


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_figure_is_folded_or_left_out(width):
    rows = table("models", "model", "a long header", "parameters", "bytes per token", left=1)
    figures = ("30,532,122,624", "118,747,255,799", "98,304")
    rows.add_row("a name of several words", *figures)
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True).print(rows)
    text = file.getvalue()
    assert all(figure in text for figure in figures)
    assert all(word in text for word in ["a", "name", "of", "several", "words"])


def test_a_table_that_fits_is_as_wide_as_the_terminal_allows():
    rows = table("", "model", "share")
    rows.add_row("a name of several words", "12.9 %")
    file = io.StringIO()
    Console(file=file, width=80).print(rows)
    assert "a name of several words  12.9 %" in file.getvalue()


def test_a_model_that_no_context_fits_beside_is_too_large():
    told = [longest_fit(tokens) for tokens in (None, "unknown", 0, 1, 16384)]
    assert told == ["any", "unknown", "too large", "1", "16,384"]
