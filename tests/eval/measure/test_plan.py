"""What a sweep takes and refuses: layouts that its prompts or the text of quality do not suit, heads of two sizes."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import refmodel
from eval.measure import default_sweep
from eval.measure.default_sweep import LENGTHS, usual_sweep
from eval.measure.plan import plan
from refmodel.presets import preset
from refmodel.source import Model

OF_17 = "evict_after(tova, budget=5, prompt=17)"


@pytest.fixture(scope="module")
def reader():
    """A model with a tokenizer, made for 64 tokens: as many are read for quality where nothing is said of it."""
    words = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    words.pre_tokenizer = Whitespace()
    model = refmodel.load("tiny-dense")
    return dataclasses.replace(model, config=dataclasses.replace(model.config, max_positions=64), tokenizer=words)


def test_a_layout_that_the_text_of_quality_does_not_suit_is_refused_by_that_name(reader):
    said = r"^quality reads 64 tokens of the text, which evict_after.* was to have 17 tokens, got 64\); ask for another"
    with pytest.raises(ValueError, match=said):
        usual_sweep(reader, [OF_17], [17])
    for quality_tokens in (0, 17):
        assert usual_sweep(reader, [OF_17], [17], quality_tokens=quality_tokens).lengths == (17,)


def test_quality_is_not_read_under_layouts_that_are_only_timed_whole(reader):
    assert usual_sweep(reader, ["full"], [17], whole=[OF_17]).quality_tokens == 64


@pytest.mark.parametrize(
    ("layout", "message"),
    [(OF_17, "was to have 17 tokens, got 19"), ("evict(h2o, budget=8, chunk=32)", "a chunk of 32 tokens is larger")],
)
def test_layouts_that_are_only_timed_whole_are_held_to_the_lengths_too(layout, message, reader):
    for asked in ([layout], ["full"]):
        with pytest.raises(ValueError, match=message):
            usual_sweep(reader, asked, [19], whole=[layout])


def test_quality_takes_heads_of_two_sizes_and_the_implementation_is_asked_about_both(monkeypatch):
    asked = []
    monkeypatch.setattr(default_sweep, "refuse_impl", lambda impl, dtype, head_dim: asked.append(head_dim))
    embedding = jnp.zeros((2, 3), jnp.bfloat16)
    model = Model(preset("gemma4-26b-a4b"), {"embed": {"embedding": embedding}}, None, "random (seed 0)")
    sweep = usual_sweep(model, ["5*swa(1024)+full"], [37], quality_tokens=37)
    assert asked == [256, 512]
    assert [cell.tokens for cell in plan(sweep) if cell.kind == "quality"] == [37]


def test_whole_prefills_of_all_usual_layouts_are_timed_at_one_length():
    """And of full attention at shorter ones; where layouts or lengths are named, of all of them at all lengths."""
    model = refmodel.load("tiny-dense")
    usual = usual_sweep(model)
    assert len(usual.layouts) > 2 and usual.whole == usual.layouts and usual.lengths == LENGTHS
    wholes = {cell.tokens: cell.layouts for cell in plan(usual) if cell.kind == "prefill"}
    assert wholes == {1536: (usual.full,), 2304: (usual.full,), 4608: usual.layouts}
    assert {cell.tokens for cell in plan(usual) if cell.kind == "attention"} == set(LENGTHS)
    longer = usual_sweep(model, tokens=[1536, 4608, 9001])
    assert {cell.tokens for cell in plan(longer) if cell.layouts == longer.layouts} == {1536, 4608, 9001}
    named = usual_sweep(model, ["swa(5)"], [17, 19, 23])
    assert {cell.tokens: cell.layouts for cell in plan(named) if cell.kind == "prefill"} == dict.fromkeys(
        (17, 19, 23), named.layouts
    )
    some = usual_sweep(model, whole=["swa(1024)"])
    assert [str(layout) for layout in some.whole_at(1536)] == ["full", "swa(1024)"]
