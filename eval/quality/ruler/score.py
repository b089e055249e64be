"""What came back of a sample: RULER's match of all answers, as a share, and by how deep each stood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.quality.ruler.sample import Sample


def is_found(text: str, answers: Sequence[str]) -> tuple[bool, ...]:
    """Of each answer, whether the text contains it, in upper or lower case."""
    return tuple(answer.lower() in text.lower() for answer in answers)


@dataclass(frozen=True)
class Answered:
    """A sample, and what a model said to it."""

    sample: Sample
    text: str

    @property
    def score(self) -> float:
        """The share of the answers that the text contains: `string_match_all` of RULER (2404.06654), from 0 to 1."""
        found = is_found(self.text, self.sample.answers)
        return sum(found) / len(found)


@dataclass(frozen=True)
class Stretch:
    """Answers that stood between two depths: the share of the haystack before them is at least `first`, below `last`
    (or at its end)."""

    first: float
    last: float
    asked: int
    found: int

    @property
    def mean(self) -> float | None:
        """The share that was found; None where nothing was asked."""
        return self.found / self.asked if self.asked else None


@dataclass(frozen=True)
class Recalled:
    """What came back of the samples of one task and length.

    Attributes:
        samples: how many there were.
        mean: their mean score.
        by_depth: answers, where they have a depth, by equal stretches of it.
    """

    samples: int
    mean: float
    by_depth: tuple[Stretch, ...]


def recalled(answered: Iterable[Answered], stretches: int = 5) -> Recalled:
    """Sums samples up.  Raises `ValueError` where there is none."""
    each = tuple(answered)
    if not each:
        raise ValueError("no sample was answered; a score needs one at least")
    pairs = [
        (max(i for i in range(stretches) if i / stretches <= depth), found)
        for one in each
        for depth, found in zip(one.sample.depths, is_found(one.text, one.sample.answers), strict=False)
    ]
    by_depth = tuple(
        Stretch(i / stretches, (i + 1) / stretches, len(there), sum(there))
        for i in range(stretches)
        for there in [[found for stretch, found in pairs if stretch == i]]
    )
    return Recalled(len(each), sum(one.score for one in each) / len(each), by_depth)
