"""Needles in a haystack: sentences that give a key its value, and a question for some of the keys.

    The grass is green. ...
    One of the special magic numbers for quiet-river is: 7301469.       the needle, at a depth
    The grass is green. ...
    What is the special magic number for quiet-river mentioned in the provided text? ...

RULER's retrieval tasks (Hsieh et al., 2404.06654).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from random import Random
from typing import Literal

from eval.quality.ruler.sample import NOISE, Draw, Sample
from eval.quality.ruler.words import ADJECTIVES, NOUNS

Kind = Literal["words", "numbers", "uuids"]
"""An adjective and a noun with a hyphen; 7 digits; a random UUID."""


@dataclass(frozen=True)
class Needles:
    """A task of needles.

    Attributes:
        keys, values: keys there are, and how many values each has: a sentence for each.
        queries: keys that are asked for, with all their values.
        key_kind, value_kind: what they are.
        among_needles: whether the haystack is such sentences too, about other keys, in place of noise.
    """

    keys: int = 1
    values: int = 1
    queries: int = 1
    key_kind: Kind = "words"
    value_kind: Kind = "numbers"
    among_needles: bool = False

    def build(self, draw: Draw) -> Sample:
        """The first value that is asked for stands at the draw's depth, all others anywhere, each between two lines.

        Keys differ from one another, and from those of the haystack.
        """
        random = draw.random
        keys: list[str] = []
        while len(keys) < self.keys:
            keys += {drawn(self.key_kind, random)} - set(keys)
        values = [[drawn(self.value_kind, random) for _ in range(self.values)] for _ in keys]
        asked = random.sample(range(self.keys), self.queries)
        others = [i for i in range(self.keys) if i not in asked]
        pairs = [(keys[i], value) for i in (*asked, *others) for value in values[i]]
        first = round(draw.depth * draw.units)
        places = [first, *random.sample([i for i in range(draw.units + 1) if i != first], len(pairs) - 1)]
        lines = [self._line(random, keys) for _ in range(draw.units)]
        for place, (key, value) in sorted(zip(places, pairs, strict=True), reverse=True):
            lines.insert(place, needle(self.value_kind, key, value))
        answers = tuple(value for i in asked for value in values[i])
        prompt = needle_prompt(lines, [keys[i] for i in asked], self.value_kind, one=len(answers) == 1)
        return Sample(prompt, answers, tuple(place / draw.units for place in places[: len(answers)]))

    def _line(self, random: Random, keys: list[str]) -> str:
        """Of the haystack."""
        if not self.among_needles:
            return NOISE
        while (key := drawn(self.key_kind, random)) in keys:
            pass
        return needle(self.value_kind, key, drawn(self.value_kind, random))


def drawn(kind: Kind, random: Random) -> str:
    """A key or a value."""
    if kind == "words":
        return f"{random.choice(ADJECTIVES)}-{random.choice(NOUNS)}"
    if kind == "numbers":
        return str(random.randint(10**6, 10**7 - 1))
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def needle(kind: Kind, key: str, value: str) -> str:
    """The sentence that gives a key its value."""
    return f"One of the special magic {kind} for {key} is: {value}."


def needle_prompt(lines: list[str], keys: list[str], kind: Kind, *, one: bool) -> str:
    """The whole prompt, which ends within the answer's sentence; in the singular where `one` value is asked for."""
    what, text = (kind.removesuffix("s") if one else kind), "\n".join(lines)
    asked = keys[0] if len(keys) == 1 else f"{', '.join(keys[:-1])}, and {keys[-1]}"
    some, is_all, end = ("A", "is", "is") if one else ("Some", "are all", "are")
    return (
        f"{some} special magic {what} {end} hidden within the following text. Make sure to memorize it. "
        f"I will quiz you about the {what} afterwards.\n{text}\n"
        f"What {is_all} the special magic {what} for {asked} mentioned in the provided text? "
        f"The special magic {what} for {asked} mentioned in the provided text {end}"
    )
