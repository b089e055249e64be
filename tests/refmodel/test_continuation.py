"""What a model says after a prompt: streamed and not, by text and by ids, and where it stops."""

from __future__ import annotations

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from refmodel.continuation import stop_tokens
from refmodel.generate import generate
from refmodel.source import Model, open_model
from refmodel.token_ids import continuation
from refmodel.tokenizer.chat import ChatTemplate
from tests.refmodel.tokenizer.test_folder import byte_tokenizer

HOT = {"temperature": 2.0, "top_k": 11, "top_p": 0.9, "seed": 3}


@pytest.fixture(scope="module")
def model() -> Model:
    """Random weights whose 257 tokens are the bytes, and an end."""
    return dataclasses.replace(open_model("tiny-dense"), tokenizer=byte_tokenizer("<end>"))


def test_the_same_tokens_streamed_and_not(model, fast_compile):
    ids_bt = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    found_bs = model.generate(ids_bt, 19, **HOT)
    np.testing.assert_array_equal(jnp.stack(list(model.stream(ids_bt, 19, **HOT)), axis=1), found_bs)
    np.testing.assert_array_equal(generate(model.config, model.params, ids_bt, 19, **HOT), found_bs)
    assert (model.generate(ids_bt, 19, **HOT | {"seed": 4}) != found_bs).any()
    np.testing.assert_array_equal(model.generate(ids_bt[0].tolist(), 19), model.generate(ids_bt[:1], 19))


def test_a_text_is_followed_by_the_text_of_its_ids_up_to_a_stop(model, fast_compile):
    prompt_ids = model.encode("wall")[0].tolist()
    ids = model.generate([prompt_ids], 23, **HOT)[0].tolist()
    said = model.generate("wall", 23, stop=(), **HOT)
    assert said == continuation(model.tokenizer, prompt_ids, ids)
    assert "".join(model.stream("wall", 23, stop=(), **HOT)) == said
    end = ids[7]
    kept = ids[: ids.index(end)]
    for stop in (end, [256, end]):
        assert model.generate("wall", 23, stop=stop, **HOT) == continuation(model.tokenizer, prompt_ids, kept)
    own = dataclasses.replace(model, end_tokens=(end,))
    assert own.generate("wall", 23, **HOT) == continuation(model.tokenizer, prompt_ids, kept)
    assert own.generate("wall", 23, stop=(), **HOT) == said
    stopped = list(own.stream(prompt_ids, 23, **HOT))
    assert [int(token_b[0]) for token_b in stopped] == [*kept, end]  # nothing is decoded behind it
    padded = own.generate(prompt_ids, 23, **HOT)[0].tolist()
    assert padded == [*kept, *[end] * (23 - len(kept))]


def test_a_stream_computes_nothing_that_is_not_asked_for(model, monkeypatch):
    monkeypatch.setattr("refmodel.generate._prefill", lambda *_: pytest.fail("the prompt is computed"))
    model.stream("wall", "1k", stop="a")
    with pytest.raises(ValueError, match="a cache for"):
        model.stream("wall", 10**9)


def test_a_text_comes_back_from_its_ids(model):
    ids_bt = model.encode("wäll")
    assert model.decode(ids_bt) == model.decode(ids_bt[0].tolist()) == "wäll"
    assert model.decode([256]) == ""
    for ids, said in (
        ([[1], [2]], r"one text, \[T\] or \[1, T\], got int32"),
        ([257], "token id 257 is not"),
        ([2**32 + 3], f"token id {2**32 + 3} is not"),
    ):
        with pytest.raises(ValueError, match=said):
            model.decode(ids)


def test_an_id_beyond_32_bits_is_refused_and_not_wrapped(model):
    for enter in (model.generate, model.stream):
        for outside in (2**32 + 3, 2**63 + 3):
            with pytest.raises(ValueError, match=f"token id {outside} is not in the vocabulary"):
                enter(np.array([outside, 1], np.uint64), 2)


def test_stops_are_named_by_id_or_by_text(model):
    tokenizer = model.tokenizer
    assert stop_tokens(tokenizer, 7) == (7,) and stop_tokens(tokenizer, ()) == ()
    assert stop_tokens(tokenizer, jnp.int32(7)) == stop_tokens(tokenizer, np.int64(7)) == (7,)
    assert stop_tokens(tokenizer, np.array([7, 5])) == (7, 5) and stop_tokens(tokenizer, {7}) == (7,)
    for neither in (3.5, b"ab", bytearray(b"ab"), True, None):
        with pytest.raises(
            ValueError, match=rf"^stop must be a whole number of at least 0, got {re.escape(repr(neither))}"
        ):
            stop_tokens(tokenizer, neither)
    assert stop_tokens(tokenizer, "<end>") == (256,)
    newline = stop_tokens(tokenizer, "\n")  # spelled otherwise in the vocabulary
    assert tokenizer.decode(list(newline)) == "\n" and stop_tokens(tokenizer, ["\n", 3]) == (*newline, 3)
    for several in ("two words", ""):
        with pytest.raises(ValueError, match=f"no token {several!r} in this vocabulary"):
            stop_tokens(tokenizer, several)


def test_chat_puts_a_turn_into_the_template(model):
    template = ChatTemplate("[{{ messages[0].content }}]{% if add_generation_prompt %}<end>{% endif %}", {}, "here")
    tokenizer = byte_tokenizer("<end>")
    tokenizer.post_processor = TemplateProcessing(single="<end> $A", special_tokens=[("<end>", 256)])
    asked = dataclasses.replace(model, tokenizer=tokenizer, chat_template=template)
    pytest.importorskip("jinja2")
    plain_bt = asked.encode("[wall]<end>")
    assert plain_bt[0, 0] == plain_bt[0, -1] == 256
    np.testing.assert_array_equal(asked.encode("wall", chat=True), plain_bt[:, 1:])  # the template has all the edges
    with pytest.raises(ValueError, match="tiny-dense has no chat template: leave chat out"):
        model.generate("wall", chat=True)
    with pytest.raises(ValueError, match=r"^it is broken$"):
        dataclasses.replace(model, no_template="it is broken").encode("wall", chat=True)
