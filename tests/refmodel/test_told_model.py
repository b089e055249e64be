"""A model at hand prints as a few lines, whatever it holds."""

from __future__ import annotations

import dataclasses

import refmodel
from refmodel.model import Params
from tests.refmodel.tokenizer.test_folder import byte_tokenizer


def n_bytes(params: Params) -> int:
    return sum(n_bytes(one) if isinstance(one, dict) else one.nbytes for one in params.values())


def test_a_model_is_five_lines(fast_compile):
    model = refmodel.load("tiny-moe", layout="3*swa(5)+full", dtype="bf16", seed=3)
    name, *others = repr(model).splitlines()
    assert name == f"tiny-moe: {model.config.params:,} parameters, 4 layers, 6 heads on 2 of 16"
    assert [line.split(maxsplit=1) for line in others] == [
        ["layout", "3*swa(5)+full"],
        ["weights", f"random (seed 3), bfloat16, {n_bytes(model.params):,} bytes"],
        ["tokenizer", "none: token ids alone"],
        ["context", "40,960 tokens"],
    ]
    assert "257 tokens" in repr(dataclasses.replace(model, tokenizer=byte_tokenizer("<end>")))


def test_packed_weights_and_heads_of_several_sizes_are_told(fast_compile):
    assert "int8(16), " in repr(refmodel.load("tiny-dense", weights="int8(16)"))
    hybrid = refmodel.load("tiny-hybrid")
    assert len(repr(hybrid).splitlines()) == 5 and max(map(len, repr(hybrid).splitlines())) < 120
