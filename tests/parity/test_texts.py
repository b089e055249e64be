"""Texts: the ids of transformers at hand, on slices of a long text, for every kind of tokenizer that folders hold."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

import transformers

from refmodel.default_model import default_text
from tests.checkpoints import load_tokenizer
from tests.golden.make_texts import CASES, write


def slices(count):
    """Stretches of Python's manual, some with letters from elsewhere, spaces and special tokens put in."""
    draw, text = random.Random(7), default_text()
    for _ in range(count):
        start = draw.randrange(len(text) - 400)
        cut = text[start : start + draw.randrange(1, 300)]
        yield cut.replace(draw.choice("aeiou"), draw.choice(["ä", "漢字", "  ", "\n", "<s>", "12345", "e\u0301"]))


@pytest.mark.parametrize("case", CASES)
def test_ids_are_those_of_transformers(case, tmp_path):
    write(tmp_path, case)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)
    for text in slices(200):
        assert ours.encode(text).ids == theirs(text, truncation=False, padding=False)["input_ids"], text
