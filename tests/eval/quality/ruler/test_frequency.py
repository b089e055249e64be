"""Words that are counted: word for word lm-eval's prompts, and the counts of the definitions."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import zeta

from eval.quality.ruler.frequency import (
    ALPHA,
    LEAST_CODED,
    MOST_RARE,
    ZETA,
    common_prompt,
    common_words,
    frequent_words,
    numbered,
    zipf_counts,
)
from eval.quality.ruler.sample import Draw
from tests.eval.quality.ruler.lm_eval_prompts import lm_eval_prompt

LISTS = re.compile(r"often\.\n(.*)\nQuestion")


def words_of(text: str) -> list[str]:
    """Of a numbered list; lm-eval's may be two words with a space."""
    found = re.findall(r"(\d+)\. (.+?)(?= \d+\. |$)", text)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [word for _, word in found]


def counts(text: str) -> Counter[str]:
    return Counter(words_of(text))


@pytest.mark.parametrize("tokens", [1_024, 4_096])
def test_a_list_is_lm_eval_s_word_for_word_with_its_counts(tokens):
    prompt, answers = lm_eval_prompt(f"cwe {tokens}")
    example, asked = LISTS.findall(prompt)
    solved = re.search(r"are:(1\. .*)\nBelow", prompt)[1]
    assert f"{common_prompt(example)}{numbered(words_of(solved))}\n{common_prompt(asked)}" == prompt
    ours = LISTS.findall(common_words(Draw(Random(0), len(counts(asked)) - 10, 0.0, tokens)).prompt)
    for theirs, mine in zip((example, asked), ours, strict=True):
        assert sorted(counts(theirs).values()) == sorted(counts(mine).values())
    assert set(answers) == {word for word, _ in counts(asked).most_common(10)}


@pytest.mark.parametrize(
    ("tokens", "often", "rarely", "pinned"),
    [(4_095, 6, 1, ("vessel", "proud", "crater")), (4_096, 30, 3, ("sprinkle", "gloomy", "glacier"))],
)
def test_common_words_stand_there_more_often(tokens, often, rarely, pinned):
    sample = common_words(Draw(Random("pinned"), 17, 0.0, tokens))
    assert sample.depths == () and len(sample.answers) == 10
    example, asked = (counts(text) for text in LISTS.findall(sample.prompt))
    assert {asked[word] for word in sample.answers} == {often}
    assert len(asked) == 27 and Counter(asked.values()) == {often: 10, rarely: 17}
    solved = set(words_of(re.search(r"are:(1\. .*)\nBelow", sample.prompt)[1]))
    assert solved == {word for word, _ in example.most_common(10)} != set(sample.answers)
    assert common_words(Draw(Random("pinned"), 3, 0.0, tokens)).answers == sample.answers
    assert sample.answers[:3] == pinned


def test_all_words_there_are_make_a_list():
    sample = common_words(Draw(Random(0), MOST_RARE, 0.0, 4_095))
    assert Counter(counts(LISTS.findall(sample.prompt)[1]).values()) == {6: 10, 1: MOST_RARE}


def test_a_list_is_shuffled():
    sample = common_words(Draw(Random(0), 17, 0.0, 4_096))
    words = words_of(LISTS.findall(sample.prompt)[1])
    assert len(set(words[:300])) == 27


def test_a_coded_text_is_lm_eval_s_word_for_word_with_its_counts():
    prompt, answers = lm_eval_prompt("fwe")
    before, text, after = re.fullmatch(r"(.*coded words\. )(.*)(\nQuestion.*)", prompt, re.DOTALL).groups()
    theirs = Counter(text.split())
    assert tuple(word for word, _ in theirs.most_common(4))[1:] == answers
    n_words = next(n for n in range(400, 0, -1) if sum(zipf_counts(n, 11)) == theirs.total())
    sample = frequent_words(Draw(Random(0), n_words, 0.0, 50 * 11))
    ours = re.fullmatch(re.escape(before) + "(.*)" + re.escape(after), sample.prompt)[1]
    assert sorted(Counter(ours.split()).values()) == sorted(theirs.values())


@given(st.integers(LEAST_CODED, 3_001), st.integers(500, 9_001))
def test_the_three_most_frequent_words_are_told_apart_from_the_others(units, tokens):
    sample = frequent_words(Draw(Random(units), units, 0.0, tokens))
    found = Counter(re.search(r"coded words\. (.*)\n", sample.prompt)[1].split())
    dots, *rest = found.most_common()
    assert dots[0] == "..." and {word for word, _ in rest[:3]} == set(sample.answers)
    assert rest[2][1] > rest[3][1] and sample.depths == ()
    assert all(re.fullmatch("[a-z]{6}", word) for word, _ in rest)


@pytest.mark.parametrize(("tokens", "coded"), [(1_899, 37), (1_900, 38), (97, 10)])
def test_there_is_a_coded_word_for_each_50_tokens(tokens, coded):
    sample = frequent_words(Draw(Random(0), 3_001, 0.0, tokens))
    assert len(set(re.search(r"coded words\. (.*)\n", sample.prompt)[1].split())) == coded


def test_counts_are_zipf_s():
    assert pytest.approx(zeta(ALPHA), rel=1e-15) == ZETA
    rank = np.arange(1, 38)
    assert zipf_counts(1_009, 37) == (1_009 * rank**-ALPHA / zeta(ALPHA)).astype(int).tolist()
    assert zipf_counts(LEAST_CODED - 1, 5)[3:] == [2, 1]


def test_a_coded_text_is_shuffled_and_pinned():
    sample = frequent_words(Draw(Random("pinned"), 211, 0.0, 1_009))
    words = re.search(r"coded words\. (.*)\n", sample.prompt)[1].split()
    assert len(set(words[:50])) > 3
    assert sample.answers == ("jxpsne", "eoitmb", "abafof")
