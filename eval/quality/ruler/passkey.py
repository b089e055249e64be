"""The passkey: a number that is told once in a row of noise (Mohtashami and Jaggi, 2305.16300)."""

from __future__ import annotations

from typing import Final

from eval.quality.ruler.sample import NOISE, Draw, Sample

KEYS: Final = (10_000, 50_000)
"""Of the published 1 to 50,000 those of five digits: a shorter one would be found in many a text."""


def passkey(draw: Draw) -> Sample:
    """A prompt of `draw.units` repetitions of the noise, the key at `draw.depth` of them."""
    key, before = draw.random.randint(*KEYS), round(draw.depth * draw.units)
    told = f"The pass key is {key}. Remember it. {key} is the pass key."
    parts = " ".join([NOISE] * before), told, " ".join([NOISE] * (draw.units - before))
    text = "\n".join(part for part in parts if part)
    prompt = (
        "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
        f"I will quiz you about the important information there.\n{text}\n"
        "What is the pass key? The pass key is"
    )
    return Sample(prompt, (str(key),), (before / draw.units,))
