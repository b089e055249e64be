"""Prompts that fill a length."""

from __future__ import annotations

import hashlib
import itertools
from random import Random

import pytest

from eval.quality.ruler.sample import Draw
from eval.quality.ruler.tasks import DEPTHS, TASKS, samples, task_named

NAMES = [task.name for task in TASKS]
PINNED = {
    "passkey": "6b20234c1322", "niah_single_1": "8d5809358078", "niah_single_3": "5ba4822bb718",
    "niah_multikey_1": "d3b9410da15d", "niah_multikey_2": "6f0c0934a328", "niah_multikey_3": "7330dc9647ab",
    "niah_multivalue": "c2bae3d5f15f", "niah_multiquery": "d5e0deabbf14", "vt": "f079b850e51b", "cwe": "717f27652b58",
    "fwe": "e1149b1e11b8",
}  # fmt: skip
"""Of three prompts of each task, with their answers and depths."""


def words_and_signs(text: str) -> int:
    """A tokenizer's count, nearly."""
    return len(text.split()) + sum(not x.isalnum() and not x.isspace() for x in text)


def drawn(task: str, **changed):
    return list(samples(task, **{"tokens": 1_511, "count": 3, "seed": 5, "count_tokens": words_and_signs} | changed))


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_is_as_long_as_there_is_room_for(name):
    """One by one, more haystack is taken until it is too much."""
    task, tokens = task_named(name), 1_009
    for number, sample in enumerate(drawn(name, tokens=tokens, count=2)):
        for units in itertools.count(task.least_units):
            built = task.build(Draw(Random(f"{name} {tokens} 5 {number}"), units, DEPTHS[number], tokens))
            if words_and_signs(built.prompt) + task.new_tokens > tokens:
                break
            longest = built
        assert sample == longest


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_draws_the_same(name):
    text = repr([(one.prompt, one.answers, one.depths) for one in drawn(name)])
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == PINNED[name]


def test_prompts_differ_by_number_seed_and_task_and_go_through_the_depths():
    first = drawn("passkey", count=7)
    assert len({one.answers for one in first}) == 7
    assert {one.answers for one in first}.isdisjoint(one.answers for one in drawn("passkey", count=7, seed=6))
    found = [round(one.depths[0], 1) for one in drawn("passkey", count=7, depths=(0.2, 0.9, 0.5))]
    assert found == [0.2, 0.9, 0.5, 0.2, 0.9, 0.5, 0.2]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task": "niah"}, "no task 'niah' .*; accepted: passkey, niah_single_1"),
        ({"tokens": 0}, "tokens must be a whole number of at least 1, got 0"),
        ({"count": 0}, "count must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"depths": ()}, r"depths must be numbers from 0 to 1, one at least, got \(\)"),
        ({"depths": (0.5, 1.1)}, r"depths must be numbers from 0 to 1, one at least, got \(0.5, 1.1\)"),
    ],
)
def test_what_is_refused_before_a_prompt_is_drawn(changed, said):
    words = {"task": "passkey", "tokens": 97, "count": 1, "seed": 0, "count_tokens": len} | changed
    with pytest.raises(ValueError, match=said):
        samples(**words)


def test_lengths_without_room_and_without_haystack():
    with pytest.raises(ValueError, match="passkey needs at least 94 tokens, 16 to answer, got 67"):
        drawn("passkey", tokens=67)
    (least,) = drawn("passkey", tokens=94, count=1)
    assert words_and_signs(least.prompt) == 78
    with pytest.raises(ValueError, match="cwe has no more than 845 units of haystack, which do not fill 30,011 tokens"):
        drawn("cwe", tokens=30_011)
    with pytest.raises(ValueError, match="passkey has no more than 388 units of haystack, which do not fill 97 tokens"):
        drawn("passkey", tokens=97, count_tokens=lambda text: 0)


def test_words_that_round_down_and_a_haystack_that_is_used_up_exactly_fill_a_length():
    (words,) = drawn("fwe", tokens=16_384, count=1, count_tokens=lambda text: len(text.split()))
    assert 16_384 - 50 - 9 < len(words.prompt.split()) <= 16_384 - 50
    every = len(task_named("cwe").build(Draw(Random(0), 845, 0.0, 9_000)).prompt.split())
    for tokens in (every + 120, every + 125):  # a word more, three times with its number, has no place
        assert len(drawn("cwe", tokens=tokens, count=1, count_tokens=lambda text: len(text.split()))) == 1
    with pytest.raises(ValueError, match="cwe has no more than 845 units"):
        drawn("cwe", tokens=every + 126, count=1, count_tokens=lambda text: len(text.split()))


def test_no_task_has_the_name_of_another():
    assert len(set(NAMES)) == len(NAMES) == len(PINNED)
