"""The library of tokenizers: what it refuses is one line, and what it would fail on does not reach it."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, processors
from tokenizers.models import WordLevel

from refmodel.token_ids import text_ids
from refmodel.tokenizer import tokenizer_json
from refmodel.tokenizer.library import refusals
from tests.refmodel.tokenizer.test_folder import byte_tokenizer


class PanicException(BaseException):
    """As pyo3 calls a panic."""


@pytest.mark.parametrize("error", [Exception("a\nb"), TypeError("a b"), OverflowError("a b"), PanicException("a\nb")])
def test_whatever_the_library_raises_is_one_line(error):
    with pytest.raises(ValueError, match=r"^here \(a b\)$"), refusals("here"):
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_pass(error):
    with pytest.raises(error), refusals("here"):
        raise error


def test_a_text_that_a_tokenizer_cannot_read_is_refused_in_one_line():
    tokenizer = Tokenizer(WordLevel({"a": 0}, unk_token="<unk>"))
    with pytest.raises(ValueError, match=r"^here: its tokenizer cannot read this text \(.*\[UNK\]"):
        text_ids(tokenizer, "b", 1, "here")


def whole_json():
    tokenizer = byte_tokenizer("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    found = json.loads(tokenizer.to_str())
    found["model"]["vocab"] |= {"ab": 257, "##c": 258, "abc": 259}
    found["model"]["merges"] = [["a", "b"]]
    return found


def test_what_goes_together_reaches_the_library(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole_json()))
    assert tokenizer_json.read_tokenizer_json(tmp_path / "tokenizer.json").encode("ab").ids == [256, 257]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["post_processor"]["special_tokens"].clear(), "its template holds <s>, which it does not describe"),
        (lambda t: t["post_processor"].pop("special_tokens"), "its template holds <s>, which it does not describe"),
        (lambda t: t["post_processor"]["single"][0]["SpecialToken"].update(id="a\nb"), r"holds 'a\\nb', which it does"),
        (lambda t: t["post_processor"]["single"][1]["Sequence"].update(id="B"), "single template has a second text"),
        (lambda t: t["model"]["vocab"].pop("ab"), "model: 'a' and 'b' make 'ab'; the vocabulary lacks 'ab'"),
        (lambda t: t["model"]["merges"].append("x y"), "model: 'x' and 'y' make 'xy'; the vocabulary lacks 'xy'"),
        (
            lambda t: t["model"].update(continuing_subword_prefix="##"),
            "'b' does not begin with '##', as later parts do",
        ),
        (
            lambda t: t.update(normalizer={"type": "Prepend", "prepend": ""}),
            "normalizer: an empty text is put in front",
        ),
        (lambda t: t.update(normalizer={"type": 7, "prepend": ""}), "normalizer: an empty text is put in front"),
        (
            lambda t: t.update(normalizer=[{"type": "Precompiled", "precompiled_charsmap": "AAAA"}]),
            "normalizer: precompiled_charsmap of 3 bytes says that its trie takes 0",
        ),
        (
            lambda t: t.update(decoder={"type": "Sequence", "decoders": [{"pattern": {"String": ""}}]}),
            "decoder: an empty pattern",
        ),
        (
            lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [t["pre_tokenizer"]] * 13}),
            "normalizer and pre_tokenizer: their steps may make a text more than 4,096 times as long",
        ),
        (
            lambda t: t.update(decoder=[{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 4_097}]),
            "decoder: their steps may make a text more than 4,096 times as long",
        ),
    ],
)
def test_what_the_library_would_fail_on_does_not_reach_it(tmp_path, monkeypatch, change, message):
    path, found = tmp_path / "tokenizer.json", whole_json()
    monkeypatch.setattr(tokenizer_json, "Tokenizer", None)
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=rf"^{path}: .*{message}") as refusal:
        tokenizer_json.read_tokenizer_json(path)
    assert "\n" not in str(refusal.value)
