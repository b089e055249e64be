"""The tasks of retrieval, by name, and prompts of each that fill a length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

from attention.checks import MOST_SEED, whole
from attention.unknown import unknown
from eval.quality.ruler.chain import HOPS, variable_tracking
from eval.quality.ruler.frequency import LEAST_CODED, MOST_RARE, common_words, frequent_words
from eval.quality.ruler.needles import Needles
from eval.quality.ruler.passkey import passkey
from eval.quality.ruler.sample import Draw, Sample, Task

NEEDLE_TOKENS: Final = 128
MOST_UNITS_PER_TOKEN: Final = 4
"""Of haystack, where it does not end: `fwe` makes fewer words than units."""
DEPTHS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of what is asked for, one prompt after the other."""

TASKS: Final = (
    Task("passkey", "a number among noise", passkey, 16, 1),
    Task("niah_single_1", "a word's number among noise", Needles().build, NEEDLE_TOKENS, 1),
    Task("niah_single_3", "a word's UUID among noise", Needles(value_kind="uuids").build, NEEDLE_TOKENS, 1),
    Task("niah_multikey_1", "one of 4 words' numbers", Needles(keys=4).build, NEEDLE_TOKENS, 3),
    Task("niah_multikey_2", "a word's number among those of others", Needles(among_needles=True).build, NEEDLE_TOKENS,
         1),
    Task("niah_multikey_3", "a UUID's UUID among those of others",
         Needles(key_kind="uuids", value_kind="uuids", among_needles=True).build, NEEDLE_TOKENS, 1),
    Task("niah_multivalue", "4 numbers of one word", Needles(values=4).build, NEEDLE_TOKENS, 3),
    Task("niah_multiquery", "the numbers of 4 words", Needles(keys=4, queries=4).build, NEEDLE_TOKENS, 3),
    Task("vt", "5 variables that got one value from one another", variable_tracking, 30, HOPS + 1),
    Task("cwe", "the 10 common words of a list", common_words, 120, 1, MOST_RARE),
    Task("fwe", "the 3 most frequent words", frequent_words, 50, LEAST_CODED),
)  # fmt: skip


def task_named(name: str) -> Task:
    """The task of that name.  Raises `ValueError` for another one."""
    for task in TASKS:
        if task.name == name:
            return task
    raise ValueError(unknown("task", name, (task.name for task in TASKS)))


def samples(
    task: str, *, tokens: int, count: int, seed: int, count_tokens: Callable[[str], int],
    depths: Sequence[float] = DEPTHS,
) -> Iterator[Sample]:  # fmt: skip
    """Prompts of `tokens`, with what is left to answer, as long as whole lines or words of haystack make them.

    Each is drawn from the task, `tokens`, `seed` and its number; the depths are taken in turn.

    Args:
        task: a name in `TASKS`.
        count_tokens: the number of tokens that a text is to the model that is asked.

    Raises:
        ValueError: an unknown task, a depth outside 0 to 1, a length that has no room for the task or for which its
            haystack does not suffice; the last two as a prompt is asked for.
    """
    asked = task_named(task)
    whole("tokens", tokens, 1)
    whole("count", count, 1)
    whole("seed", seed, 0, MOST_SEED)
    if not depths or not all(0 <= depth <= 1 for depth in depths):
        raise ValueError(f"depths must be numbers from 0 to 1, one at least, got {depths}")
    return (
        _filled(asked, f"{task} {tokens} {seed} {number}", depths[number % len(depths)], tokens, count_tokens)
        for number in range(count)
    )


def _filled(task: Task, key: str, depth: float, tokens: int, count_tokens: Callable[[str], int]) -> Sample:
    """The longest prompt that leaves room for the answer, of all that `key` draws."""

    def built(units: int) -> Sample:
        return task.build(Draw(Random(key), units, depth, tokens))

    def needed(sample: Sample) -> int:
        return count_tokens(sample.prompt) + task.new_tokens

    most, fits = task.most_units or MOST_UNITS_PER_TOKEN * tokens, task.least_units
    found = built(fits)
    if (least := needed(found)) > tokens:
        raise ValueError(f"{task.name} needs at least {least:,} tokens, {task.new_tokens} to answer, got {tokens:,}")
    too_many = most + 1
    while fits + 1 < too_many:  # doubled until it is too long, then halved between
        units = min(2 * fits, (fits + too_many) // 2)
        if needed(one := built(units)) <= tokens:
            fits, found = units, one
        else:
            too_many = units
    if fits == most and 2 * needed(found) - needed(built(most - 1)) <= tokens:  # one more would have its place
        raise ValueError(
            f"{task.name} has no more than {most:,} units of haystack, which do not fill {tokens:,} tokens"
        )
    return found
