"""What tokenizer_config.json and the files beside it say: each entry is looked at, and named where it is no token."""

from __future__ import annotations

import json
import os

import pytest

from tests.checkpoints import load_tokenizer
from tests.refmodel.tokenizer.test_folder import LETTERS, byte_tokenizer, write_merges

QWEN = {"tokenizer_class": "Qwen2Tokenizer"}


def test_a_token_that_is_only_named_is_found_in_a_text(tmp_path):
    """In the vocabulary or not; under a model's own name too; one that null takes away is text."""
    told = QWEN | {
        "eos_token": "ab",
        "image_token": "<image>",
        "additional_special_tokens": ["<more>"],
        "pad_token": None,
    }
    write_merges(tmp_path, told)
    tokenizer = load_tokenizer(tmp_path)
    encoding = tokenizer.encode("1ab<image><more><|endoftext|>")
    assert encoding.tokens == ["1", "ab", "<image>", "<more>", "<|endoftext|>"]
    assert encoding.ids[1:] == [256, 259, 260, 258] and tokenizer.decode(encoding.ids) == "1"
    write_merges(tmp_path, told | {"unk_token": None, "eos_token": None})
    assert load_tokenizer(tmp_path).encode("<|endoftext|>").ids[0] == LETTERS.index("<")


def test_a_name_leaves_a_token_what_it_is_and_makes_it_special(tmp_path):
    added = {"258": {"content": "<s>", "lstrip": True}, "259": {"content": "<t>"}}
    write_merges(tmp_path, {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "added_tokens_decoder": added})
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode("ab <s><t>").ids
    assert ids == [256, 258, 259] and tokenizer.decode(ids) == "ab<t>"


def test_tokens_that_tokenizer_json_has_keep_what_they_are(tmp_path):
    byte_tokenizer("<s>").save(str(tmp_path / "tokenizer.json"))
    added = {"7": {"content": "<s>", "lstrip": True}, "257": {"content": "<t>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<e>", "added_tokens_decoder": added}))
    assert load_tokenizer(tmp_path).encode("<s> <s><t><e>").ids == [256, LETTERS.index("Ġ"), 256, 257, 258]


def test_special_tokens_may_be_read_as_text(tmp_path):
    write_merges(tmp_path, QWEN | {"eos_token": "<e>", "split_special_tokens": True})
    assert load_tokenizer(tmp_path).encode("<e>").tokens == ["<", "e", ">"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"tokenizer_class": 3}, "tokenizer_class must be of type str, got 3"),
        ({"add_prefix_space": "yes"}, "add_prefix_space must be of type bool, got 'yes'"),
        ({"add_bos_token": 1}, "add_bos_token must be of type bool, got 1"),
        ({"bos_token": 5, "add_bos_token": True}, "bos_token is 5; accepted: a token's text, or an object"),
        ({"bos_token": {"lstrip": True}}, "bos_token is {'lstrip': True}; accepted"),
        ({"eos_token": {"content": "a", "lstrip": "x"}}, "eos_token: lstrip must be of type bool, got 'x'"),
        ({"eos_token": "\udc80"}, "eos_token is no token"),
        ({"extra_special_tokens": 1}, "extra_special_tokens is 1; accepted: a list of tokens"),
        ({"additional_special_tokens": [None]}, "additional_special_tokens is None; accepted"),
        ({"added_tokens_decoder": []}, r"added_tokens_decoder must be of type dict, got \[\]"),
        ({"added_tokens_decoder": {"x": {"content": "a"}}}, "added_tokens_decoder: 'x' is no token id"),
        ({"added_tokens_decoder": {"-1": {"content": "a"}}}, "added_tokens_decoder: '-1' is no token id"),
        ({"added_tokens_decoder": {"9" * 5000: {"content": "a"}}}, "added_tokens_decoder: '9+...9+' is no token id"),
        ({"added_tokens_decoder": {"258": {}}}, "added_tokens_decoder: 258 is {}; accepted"),
        ({"added_tokens_decoder": {"258": None}}, "added_tokens_decoder: 258 is None; accepted"),
        ([], "an object is wanted, got list"),
    ],
)
def test_an_entry_that_is_no_token_is_named(tmp_path, told, message):
    write_merges(tmp_path, QWEN | told if isinstance(told, dict) else told)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/tokenizer_config.json: {message}") as refusal:
        load_tokenizer(tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("listed", [{"z": "2"}, {"z": None}, {"z": True}, {"z": -1}, {"z": 2.0}, {"z": 10**400}])
def test_an_added_token_without_an_id_is_named(tmp_path, listed):
    write_merges(tmp_path, QWEN, listed)
    with pytest.raises(ValueError, match=r"added_tokens.json: .* is no token id$"):
        load_tokenizer(tmp_path)


def test_no_tokens_are_told_by_null(tmp_path):
    write_merges(tmp_path, QWEN | {"added_tokens_decoder": None, "bos_token": None, "add_bos_token": True})
    assert load_tokenizer(tmp_path).encode("ab").ids == [256]


@pytest.mark.parametrize("file", ["merges.txt", "vocab.json", "tokenizer_config.json", "added_tokens.json"])
@pytest.mark.parametrize("change", ["a folder", "a pipe", "no text"])
def test_a_file_that_is_none_of_text_is_named(tmp_path, file, change):
    write_merges(tmp_path, QWEN)
    (tmp_path / file).unlink()
    if change == "no text":
        (tmp_path / file).write_bytes(b"a \xff\n")
    else:
        (os.mkfifo if change == "a pipe" else os.mkdir)(tmp_path / file)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/{file}(: not readable as text| is no regular file)"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer.model"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_is_no_tokenizer(tmp_path, file, make):
    make(tmp_path / file)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/{file} is no regular file but a (folder|pipe)"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ({"a": 0, "b": True}, "", "vocab.json: the id of b is no whole number"),
        ({"a": 0, "b": "1"}, "", "vocab.json: the id of b is no whole number"),
        ({"a": -1}, "", r"vocab.json and merges.txt: merges do not fit the tokens \("),
        ({"a": 2**32}, "", r"vocab.json and merges.txt: merges do not fit the tokens \("),
        ({"\udc80": 0}, "", r"vocab.json and merges.txt: merges do not fit the tokens \("),
        ({"a": 0, "b": 1, "longer": 2}, "a b\n", "'a' and 'b' make 'ab'; the vocabulary lacks 'ab'"),
        ({"a": 0, "ab": 1}, "a b", "the vocabulary lacks 'b'"),
        ({"a": 0, "ab": 1}, "ab", "'ab' and '' make 'ab'; the vocabulary lacks ''"),
    ],
)
def test_a_vocabulary_and_merges_that_do_not_go_together_are_named(tmp_path, vocabulary, merges, message):
    write_merges(tmp_path, QWEN)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(ValueError, match=rf"^{tmp_path}.*{message}") as refusal:
        load_tokenizer(tmp_path)
    assert "\n" not in str(refusal.value)
