"""Words that stand in a text more often than others: which are they?

Common words: ten that stand in a numbered list ten times as often as all others.  Frequent words: of a text of coded
words, whose counts fall as Zipf's law says, the three most frequent but for the dots.  RULER's tasks of aggregation
(Hsieh et al., 2404.06654); their answers stand all over the text, so that they have no depth.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from random import Random
from typing import Final

from eval.quality.ruler.sample import Draw, Sample
from eval.quality.ruler.words import WORDS

COMMON: Final = 10
FULL_TOKENS: Final = 4_096
"""Shorter prompts have fewer repetitions: as published."""
ALPHA: Final = 2.0
ZETA: Final = math.pi**2 / 6
"""Riemann's zeta function of `ALPHA`: the sum of all rank ** -ALPHA."""
MOST_RARE: Final = len(WORDS) - COMMON
LEAST_CODED: Final = 73
"""From so many words on the fourth is always more frequent than the fifth: n / ZETA * (1/16 - 1/25) reaches 1."""


def common_words(draw: Draw) -> Sample:
    """A list of 10 common and `draw.units` rare words, 30 and 3 times each (6 and 1 in a short prompt).

    Before it stands a smaller list, solved, without a space before the answer, as published: of 40 words, 10 and 3
    times each (of 20 words, 3 and 1 time).
    """
    full = draw.tokens >= FULL_TOKENS
    often, rarely, example_words, example_often, example_rarely = (30, 3, 40, 10, 3) if full else (6, 1, 20, 3, 1)
    words = draw.random.sample(WORDS, example_words)
    example = listed(draw.random, words[:COMMON], words[COMMON:], example_often, example_rarely)
    common = draw.random.sample(WORDS, COMMON)
    rare = draw.random.sample([word for word in WORDS if word not in common], draw.units)
    prompt = common_prompt(listed(draw.random, common, rare, often, rarely))
    return Sample(f"{common_prompt(example)}{numbered(words[:COMMON])}\n{prompt}", tuple(common))


def listed(random: Random, common: Sequence[str], rare: Sequence[str], often: int, rarely: int) -> str:
    """All of them so many times, in any order, numbered."""
    words = [*common] * often + [*rare] * rarely
    random.shuffle(words)
    return numbered(words)


def numbered(words: Sequence[str]) -> str:
    """`1. acorn 2. badge`."""
    return " ".join(f"{i}. {word}" for i, word in enumerate(words, 1))


def common_prompt(words: str) -> str:
    """The prompt about a numbered list."""
    return (
        "Below is a numbered list of words. In these words, some appear more often than others. "
        f"Memorize the ones that appear most often.\n{words}\n"
        f"Question: What are the {COMMON} most common words in the above list? "
        f"Answer: The top {COMMON} words that appear most often in the list are:"
    )


def frequent_words(draw: Draw) -> Sample:
    """A text of about `draw.units` coded words, of which the one of rank k stands there ⌊units · k^-2 / ζ(2)⌋ times.

    There is a coded word, six letters, for each 50 tokens of the prompt's length; the first one is dots.
    """
    random = draw.random
    coded: dict[str, None] = {"...": None}
    while len(coded) < max(COMMON, draw.tokens // 50):
        coded["".join(random.choices(string.ascii_lowercase, k=6))] = None
    words = [word for word, times in zip(coded, zipf_counts(draw.units, len(coded)), strict=True) for _ in range(times)]
    random.shuffle(words)
    prompt = (
        "Read the following coded text and track the frequency of each coded word. "
        f"Find the three most frequently appeared coded words. {' '.join(words)}\n"
        "Question: Do not provide any explanation. Please ignore the dots '....'. "
        "What are the three most frequently appeared words in the above coded text? "
        "Answer: According to the coded text above, the three most frequently appeared words are:"
    )
    return Sample(prompt, tuple(coded)[1:4])


def zipf_counts(n_words: int, n_ranks: int) -> list[int]:
    """How often the word of each rank stands in a text of at most `n_words`."""
    return [int(n_words * rank**-ALPHA / ZETA) for rank in range(1, n_ranks + 1)]
