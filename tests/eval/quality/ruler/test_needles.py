"""Needles: word for word lm-eval's prompts, and what is asked for stands where it was to stand."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.quality.ruler.needles import Needles, drawn, needle, needle_prompt
from eval.quality.ruler.sample import NOISE, Draw
from eval.quality.ruler.tasks import TASKS
from tests.eval.quality.ruler.lm_eval_prompts import lm_eval_prompt

KINDS = {task.name: task.build.__self__ for task in TASKS if task.name.startswith("niah")}
NEEDLE = re.compile(r"One of the special magic (\w+) for (.+) is: (\S+)\.")


@pytest.mark.parametrize("name", KINDS)
def test_prompts_are_lm_eval_s_word_for_word(name):
    prompt, answers = lm_eval_prompt(name)
    kind, (_, *lines, _) = KINDS[name], prompt.split("\n")
    pairs = {value: key for _, key, value in map(re.Match.groups, filter(None, map(NEEDLE.fullmatch, lines)))}
    rebuilt = [needle(kind.value_kind, pairs[x[3]], x[3]) if (x := NEEDLE.fullmatch(line)) else NOISE for line in lines]
    asked = list(dict.fromkeys(pairs[answer] for answer in answers))
    assert needle_prompt(rebuilt, asked, kind.value_kind, one=len(answers) == 1) == prompt
    assert len(answers) == kind.queries * kind.values
    assert kind.among_needles is (NOISE not in lines)
    assert kind.among_needles or len(pairs) == kind.keys * kind.values


@given(st.sampled_from(list(KINDS)), st.integers(3, 41), st.floats(0, 1), st.integers(0, 10**6))
def test_answers_stand_behind_the_keys_that_are_asked_for_where_it_is_said(name, units, depth, seed):
    kind = KINDS[name]
    sample = kind.build(Draw(Random(seed), units, depth, 0))
    _, *lines, question = sample.prompt.split("\n")
    told = [(i, x[2], x[3]) for i, line in enumerate(lines) if (x := NEEDLE.fullmatch(line))]
    asked = re.search(r" for (.*) mentioned.* for (.*) mentioned", question)
    keys = re.split(r", and |, ", asked[1])
    assert asked[1] == asked[2] and len(keys) == kind.queries
    assert sorted(value for _, key, value in told if key in keys) == sorted(sample.answers)
    assert len(sample.answers) == len(sample.depths) == kind.queries * kind.values
    hay = [i for i, line in enumerate(lines) if line == NOISE or (kind.among_needles and NEEDLE.fullmatch(line))]
    needles = kind.keys * kind.values
    assert len(lines) == units + needles and len(hay) == units + needles * kind.among_needles
    where = {value: i for i, _, value in told}
    for answer, stands in zip(sample.answers, sample.depths, strict=True):
        before = where[answer] if kind.among_needles else lines[: where[answer]].count(NOISE)
        assert stands == before / units
    assert sample.depths[0] == round(depth * units) / units
    if not kind.among_needles:  # each between two lines of its own
        assert len({lines[:i].count(NOISE) for i, _, _ in told}) == needles


def test_more_haystack_asks_for_the_same():
    for kind in KINDS.values():
        few, many = (kind.build(Draw(Random(3), units, 0.5, 0)) for units in (5, 23))
        assert few.answers == many.answers and few.prompt.split("\n")[-1] == many.prompt.split("\n")[-1]


def test_keys_differ_also_from_those_of_the_haystack(monkeypatch):
    """Of a few words to draw from, so that the same ones come up."""
    for name in ("ADJECTIVES", "NOUNS"):
        monkeypatch.setattr(f"eval.quality.ruler.needles.{name}", ("one", "two", "three"))
    for seed in range(7):
        sample = Needles(keys=5, among_needles=True).build(Draw(Random(seed), 37, 0.5, 0))
        keys = Counter(found[2] for found in NEEDLE.finditer(sample.prompt))
        (asked,) = set(re.findall(r"for (\S+) mentioned", sample.prompt))
        assert keys[asked] == 1 and sum(n == 1 for n in keys.values()) >= 5


def test_others_than_the_first_stand_anywhere():
    places = {Needles(values=2).build(Draw(Random(seed), 3, 1.0, 0)).depths[1] for seed in range(97)}
    assert places == {0, 1 / 3, 2 / 3}


def test_kinds_of_keys_and_values():
    numbers = [int(drawn("numbers", Random(seed))) for seed in range(997)]
    assert 10**6 <= min(numbers) < 1.1 * 10**6 and 9.9 * 10**6 < max(numbers) < 10**7
    assert {uuid.UUID(drawn("uuids", Random(seed))).version for seed in range(7)} == {4}
    assert re.fullmatch("[a-z]+-[a-z]+", drawn("words", Random(0)))


def test_a_draw_is_pinned():
    sample = Needles(keys=4, queries=2).build(Draw(Random("pinned"), 4, 0.25, 0))
    assert (sample.answers, sample.depths) == (("3767341", "8058060"), (0.25, 1.0))
    assert "all the special magic numbers for fragile-river, and windy-thunder mentioned" in sample.prompt
