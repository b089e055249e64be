"""Variable tracking: a chain of assignments among noise, and which variables have the value it begins with?

    VAR QWXYZ = 51273   ... noise ...   VAR ABKLM = VAR QWXYZ   ... noise ...   VAR ...       1 chain, 4 hops

RULER's multi-hop task (Hsieh et al., 2404.06654), behind one example that is solved.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from random import Random
from typing import Final

from eval.quality.ruler.sample import NOISE, Draw, Sample

HOPS: Final = 4
EXAMPLE_LINES: Final = 10
"""Of noise, in the example: as many as the 500 tokens of the published one hold, by tens."""


def variable_tracking(draw: Draw) -> Sample:
    """A prompt of `draw.units` lines of noise, before which the assignments stand in their order, one a line at most.

    They are spread over the whole text, whatever the draw's depth: each answer has the depth of its assignment.
    """
    names, value = drawn_chain(draw.random, letters=3)
    example = tracking_prompt(names, value, sorted(draw.random.sample(range(EXAMPLE_LINES), len(names))), EXAMPLE_LINES)
    solved = f"{example} {' '.join(names)}\n\n\n\n"
    names, value = drawn_chain(draw.random, letters=5)
    places = sorted(draw.random.sample(range(draw.units), len(names)))
    prompt = solved + tracking_prompt(names, value, places, draw.units).rstrip()
    return Sample(prompt, tuple(names), tuple(place / draw.units for place in places))


def drawn_chain(random: Random, letters: int) -> tuple[list[str], int]:
    """Names, all different, of which the first gets the value and each other one the one before it."""
    names: list[str] = []
    while len(names) < HOPS + 1:
        names += {"".join(random.choices(string.ascii_uppercase, k=letters))} - set(names)
    return names, random.randint(10_000, 99_998)


def tracking_prompt(names: Sequence[str], value: int, places: Sequence[int], n_lines: int) -> str:
    """The whole prompt; the i-th assignment stands before line `places[i]` of the noise.  (`assgined` is published.)"""
    assigned = [f"VAR {names[0]} = {value}", *(f"VAR {names[i + 1]} = VAR {names[i]} " for i in range(len(names) - 1))]
    before = dict(zip(places, assigned, strict=True))
    text = " ".join(part for i in range(n_lines) for part in (before.get(i), f"{NOISE}\n") if part)
    return (
        f"Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{text}\n"
        f"Question: Find all variables that are assigned the value {value} in the text above. "
        "Answer: According to the chain(s) of variable assignment in the text above, "
        f"{len(names)} variables are assgined the value {value}, they are: "
    )
