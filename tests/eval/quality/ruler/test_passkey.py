"""The passkey, told once."""

from __future__ import annotations

from random import Random

import pytest

from eval.quality.ruler.passkey import passkey
from eval.quality.ruler.sample import NOISE, Draw


@pytest.mark.parametrize(("depth", "before"), [(0.0, 0), (0.45, 3), (1.0, 7)])
def test_the_key_stands_between_two_rows_of_noise(depth, before):
    sample = passkey(Draw(Random("pinned"), 7, depth, 0))
    assert sample.answers == ("33782",) and sample.depths == (before / 7,)
    head, *rows, question = sample.prompt.split("\n")
    told = "The pass key is 33782. Remember it. 33782 is the pass key."
    assert rows == [row for row in (" ".join([NOISE] * before), told, " ".join([NOISE] * (7 - before))) if row]
    assert head == (
        "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
        "I will quiz you about the important information there."
    )
    assert question == "What is the pass key? The pass key is"


def test_keys_have_five_digits():
    keys = [int(passkey(Draw(Random(seed), 1, 0.0, 0)).answers[0]) for seed in range(997)]
    assert 10_000 <= min(keys) < 10_200 and 49_800 < max(keys) <= 50_000
