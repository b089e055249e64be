"""Tokenizers of folders: what training left in tokenizer.json changes nothing; vocab.json with merges.txt is read."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

import refmodel
from refmodel.token_ids import continuation, text_ids
from refmodel.tokenizer import sentencepiece_file
from refmodel.tokenizer.pieces import Pieces, piece_tokenizer
from tests.checkpoints import load_tokenizer
from tests.refmodel.checkpoint.written_folder import LLAMA, write_folder

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_tokenizer(*special: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(LETTERS)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def test_truncation_and_padding_change_nothing_and_the_template_s_first_token_is_there(tmp_path):
    text = "this is a prompt of thirty bytes"
    tokenizer = byte_tokenizer("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    wanted = tokenizer.encode(text).ids
    assert len(wanted) == len(text) + 1
    for leftover in (lambda: tokenizer.enable_truncation(max_length=8), lambda: tokenizer.enable_padding(length=40)):
        leftover()
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        assert load_tokenizer(tmp_path).encode(text).ids == wanted


def test_merges_that_training_left_out_at_random_are_all_there(tmp_path):
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], dropout=0.9))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode("ab" * 99).ids == [2] * 99


def write_merges(folder, told, listed=None):
    vocabulary = {token: i for i, token in enumerate([*LETTERS, "ab", "12"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n1 2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "added_tokens.json").write_text(json.dumps(listed or {}))


@pytest.mark.parametrize(("split", "pieces"), [("Qwen2Tokenizer", "ab 1 2 <end>"), ("GPT2Tokenizer", "ab 12 <end>")])
def test_vocabulary_and_merges_are_split_as_their_class_does(tmp_path, split, pieces):
    write_merges(tmp_path, {"tokenizer_class": split}, {"<end>": 258})
    encoding = load_tokenizer(tmp_path).encode("ab12<end>")
    assert encoding.tokens == pieces.split() and encoding.ids[-1] == 258


def test_first_and_last_token_are_those_that_are_asked_for(tmp_path):
    added = {"258": {"content": "<s>", "special": True}, "259": {"content": "<tool>"}}
    told = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "bos_token": {"content": "<s>"}}
    write_merges(tmp_path, told)
    assert load_tokenizer(tmp_path).encode("ab<tool>").tokens == ["ab", "<tool>"]
    write_merges(tmp_path, told | {"add_bos_token": True})
    assert load_tokenizer(tmp_path).encode("ab").tokens == ["<s>", "ab"]
    write_merges(tmp_path, told | {"add_bos_token": True, "bos_token": "<none>"})
    assert load_tokenizer(tmp_path).encode("ab").tokens == ["<none>", "ab"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer_class": "CodeGenTokenizer"}, r"how CodeGenTokenizer splits text before .* is not known"),
        ({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {"300": {"content": "<a>"}}}, r"is to be 300"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, change, message):
    write_merges(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"words", b"\x0a\x02\x0a", b"\x0a\x05\x0a\x03abc"])
def test_a_broken_file_of_sentencepiece_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer.model: (not a readable file of|a) sentencepiece"):
        load_tokenizer(tmp_path)


def test_a_file_of_sentencepiece_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(sentencepiece_file, "_MOST_FIELDS", len(PIECES))
    (tmp_path / "tokenizer.model").write_bytes(message(*PIECES))
    assert load_tokenizer(tmp_path).encode("ab").tokens == ["▁ab"]
    (tmp_path / "tokenizer.model").write_bytes(message(*PIECES, (2, b"")))
    with pytest.raises(ValueError, match=rf"tokenizer.model: .* it has more than {len(PIECES)} pieces"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(bytes(2**23 + 1))
    with pytest.raises(ValueError, match=r"tokenizer.model: .* it is longer than 8,388,608 bytes"):
        load_tokenizer(tmp_path)


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """A message of a protocol buffer; numbers are below 128."""
    return b"".join(
        bytes([number << 3, value]) if isinstance(value, int) else bytes([number << 3 | 2]) + size(len(value)) + value
        for number, value in fields
    )


def size(length: int) -> bytes:
    return bytes([length & 127 | (128 if length > 127 else 0)]) + (size(length >> 7) if length > 127 else b"")


PIECES = (*((1, message((1, text.encode()))) for text in ("▁", "a", "b", "▁a", "▁ab")), (2, message((3, 2))))


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ((3, message((2, b"no charsmap"))), "precompiled_charsmap of 11 bytes says that its trie takes 1,663,070,062"),
        ((3, message((2, 5))), "not a readable file of sentencepiece"),
        ((1, message((1, 5))), "not a readable file of sentencepiece"),
        ((1, message((1, b"c"), (3, b"x"))), "not a readable file of sentencepiece"),
        ((1, message((1, b"c"), (2, 5))), "not a readable file of sentencepiece"),
        ((2, message((3, 1))), "a sentencepiece model of another algorithm than byte pairs; give a tokenizer.json"),
        ((1, b"\x08" + b"\xff" * 500_000), r"not a readable file of .* \(ValueError: a number of more than 64 bits\)"),
    ],
)
def test_a_field_of_another_kind_is_refused(tmp_path, further, said):
    (tmp_path / "tokenizer.model").write_bytes(message(*PIECES))
    assert load_tokenizer(tmp_path).encode("ab").tokens == ["▁ab"]
    (tmp_path / "tokenizer.model").write_bytes(message(*PIECES, further))
    with pytest.raises(ValueError, match=rf"tokenizer.model: {said}") as refusal:
        load_tokenizer(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_continuation_keeps_its_first_space():
    tokenizer = piece_tokenizer(Pieces(["<unk>", "▁", "a", "▁a", "b"], [0.0, -3.0, -2.0, -1.0, -4.0], [2, 1, 1, 1, 1]))
    prompt = tokenizer.encode("b").ids
    assert tokenizer.decode([3]) == "a"
    assert continuation(tokenizer, prompt, [3, 3]) == " a a"
    assert continuation(tokenizer, prompt, []) == ""


def test_a_token_beyond_the_embedding_is_refused(tmp_path):
    tokenizer = byte_tokenizer("<a>", "<b>")
    assert text_ids(tokenizer, "x<a>", 257, "here")[-1] == 256
    with pytest.raises(ValueError, match=r"^here: its tokenizer has '<b>' as 257, beyond the embedding's 257 rows"):
        text_ids(tokenizer, "x<b>", 257, "here")
    write_folder(tmp_path, LLAMA)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"beyond the embedding's 17 rows"):
        refmodel.load(str(tmp_path)).encode("words")


def test_of_pieces_that_are_always_whole_the_longest_counts():
    texts, whole = ["<unk>", *"abc", "ab", "abc"], [4, 4]
    pieces = Pieces(texts, [0.0] * 6, [2, 1, 1, 1, *whole], prefix="none")
    assert piece_tokenizer(pieces).encode("cabcab").tokens == ["c", "abc", "ab"]
