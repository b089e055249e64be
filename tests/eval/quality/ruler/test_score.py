"""What came back, by the definition of RULER's score."""

from __future__ import annotations

import pytest

from eval.quality.ruler.sample import Sample
from eval.quality.ruler.score import Answered, Recalled, Stretch, is_found, recalled


def test_an_answer_is_found_in_any_case_and_anywhere():
    assert is_found("It is BITTER-lynx17.", ("bitter-Lynx", "17", "lynx1", "18", "Bitter lynx")) == (
        True, True, True, False, False,
    )  # fmt: skip


def test_a_score_is_the_share_of_answers_that_are_there():
    sample = Sample("", ("one", "two", "three"), (0.0, 0.5, 1.0))
    assert Answered(sample, "two and three, and three").score == 2 / 3
    assert Answered(sample, "").score == 0
    assert Answered(sample, "one two three").score == 1


def test_answers_are_counted_where_they_stood():
    first, second = Sample("", ("a1", "b2"), (0.0, 1.0)), Sample("", ("c3", "d4"), (0.34, 0.999))
    found = recalled([Answered(first, "a1"), Answered(second, "c3 d4")], stretches=3)
    assert found == Recalled(2, 0.75, (Stretch(0, 1 / 3, 1, 1), Stretch(1 / 3, 2 / 3, 1, 1), Stretch(2 / 3, 1, 2, 1)))
    assert [one.mean for one in found.by_depth] == [1, 1, 0.5]


def test_answers_without_a_depth_are_in_the_mean_alone():
    found = recalled([Answered(Sample("", ("a1", "b2")), "b2")])
    assert (found.samples, found.mean) == (1, 0.5)
    assert [(one.asked, one.found, one.mean) for one in found.by_depth] == [(0, 0, None)] * 5


def test_a_depth_is_in_the_stretch_that_it_begins():
    for stretches in (22, 23, 58):
        said = [Answered(Sample("", ("7",), (i / stretches,)), "7") for i in range(stretches)]
        assert [one.found for one in recalled(said, stretches).by_depth] == [1] * stretches


def test_no_sample_has_no_score():
    with pytest.raises(ValueError, match="no sample was answered"):
        recalled([])
