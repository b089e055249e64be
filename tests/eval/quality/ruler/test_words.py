"""The words that are drawn."""

from __future__ import annotations

from eval.quality.ruler.words import ADJECTIVES, NOUNS, VERBS, WORDS


def test_no_word_is_part_of_another_or_there_twice():
    """An answer is found as part of a text."""
    text = " ".join(WORDS)
    assert [word for word in WORDS if text.count(word) != 1] == []
    assert len(WORDS) == len(ADJECTIVES) + len(NOUNS) + len(VERBS) == len(set(WORDS))


def test_words_are_plain():
    assert all(word.isascii() and word.isalpha() and word.islower() and len(word) > 3 for word in WORDS)
