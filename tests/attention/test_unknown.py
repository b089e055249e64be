"""The word that was meant: by how it begins, by what it holds, by how it is spelled, in this order."""

from __future__ import annotations

import pytest

from attention.unknown import nearest, unknown


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("h100", ["h200", "h100-sxm"], "h100-sxm"),
        ("NANO", ["mano", "gpt-nano"], "gpt-nano"),
        ("gpt", ["my-gpt", "gpt-nano"], "gpt-nano"),
        ("r9070", ["h200", "r9700"], "r9700"),
        ("xyz", ["h200", "r9700"], None),
        ("", ["h200", "r9700"], None),
    ],
)
def test_the_nearest_word(word, known, meant):
    assert nearest(word, known) == meant
    told = f" (did you mean {meant!r}?)" if meant else ""
    assert unknown("card", word, known) == f"no card {word!r}{told}; accepted: {', '.join(known)}"


def test_a_word_of_thousands_of_characters_is_cut():
    assert unknown("card", "x" * 5_000, ["r9700"]) == f"no card '{'x' * 200}...'; accepted: r9700"
