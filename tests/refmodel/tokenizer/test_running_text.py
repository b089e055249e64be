"""Pieces of text as tokens come: together the whole text, and no piece with half a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from refmodel.default_model import default_gguf
from refmodel.token_ids import continuation
from refmodel.tokenizer.pieces import Pieces, piece_tokenizer
from refmodel.tokenizer.running_text import text_pieces
from tests.refmodel.tokenizer.test_folder import byte_tokenizer

BYTES = byte_tokenizer("<end>")


@given(st.text(max_size=13), st.text(max_size=37))
def test_pieces_are_whole_characters_of_the_text(prompt, text):
    prompt_ids, ids = (BYTES.encode(words).ids for words in (prompt, text))
    pieces = list(text_pieces(BYTES, prompt_ids, ids))
    assert "".join(pieces) == text
    assert len(pieces) == len(text.rstrip("\ufffd")) + text.endswith("\ufffd")  # of one token a byte: one a character


@given(st.lists(st.integers(0, 256), max_size=29), st.lists(st.integers(0, 256), max_size=97))
def test_bytes_that_are_no_text_come_as_they_are_read_at_the_end(prompt_ids, ids):
    assert "".join(text_pieces(BYTES, prompt_ids, ids)) == continuation(BYTES, prompt_ids, ids)


class ReadsAloud:
    """A tokenizer that keeps how many ids each text was decoded from."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def decode(self, ids: list[int]) -> str:
        self.counts.append(len(ids))
        return BYTES.decode(ids)


def test_a_long_text_is_not_decoded_again_at_each_token():
    tokenizer, ids = ReadsAloud(), BYTES.encode("wäll → 壁 " * 67).ids
    assert "".join(text_pieces(tokenizer, ids, ids)) == BYTES.decode(ids)
    assert max(tokenizer.counts) < 41 and len(tokenizer.counts) < 3 * len(ids)


@given(st.lists(st.sampled_from("abä壁🧱 "), max_size=53).map("".join))
def test_bytes_of_sentencepiece_that_spell_characters_are_put_together(text):
    spelled = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = piece_tokenizer(
        Pieces(["<unk>", "▁", "a", *spelled], [0.0, -1.0, -2.0, *[0.0] * 256], [2, 1, 1, *[6] * 256], "each")
    )
    ids = tokenizer.encode(text).ids
    assert "".join(text_pieces(tokenizer, [2], ids)) == continuation(tokenizer, [2], ids)


def test_a_token_that_ends_amid_a_character_is_joined_with_the_next_however_long_the_text():
    letters = BYTES.get_vocab(with_added_tokens=False)
    tokenizer = Tokenizer(models.BPE({**letters, "aÃ": 256}, [("a", "Ã")]))  # a, and the first byte of é
    tokenizer.pre_tokenizer, tokenizer.decoder = BYTES.pre_tokenizer, BYTES.decoder
    ids = tokenizer.encode("x" + "aé" * 37).ids
    assert len(ids) == 1 + 2 * 37
    assert list(text_pieces(tokenizer, [], ids)) == ["x", *["a", "é"] * 37]


def test_a_piece_is_there_before_the_next_token_is_asked_for():
    def tokens():
        yield from BYTES.encode("wé").ids
        pytest.fail("another token is asked for")

    running = text_pieces(BYTES, [], tokens())
    assert [next(running), next(running)] == ["w", "é"]


def test_the_first_space_of_sentencepiece_stays_even_after_special_tokens():
    tokens = ["<unk>", "<s>", "</s>", "▁a", "b"]
    tokenizer = piece_tokenizer(Pieces(tokens, [0.0, 0.0, 0.0, -1.0, -2.0], [2, 3, 3, 1, 1], "each"))
    for prompt_ids in ([3], [3, *[1] * 40]):  # the whole tail is tokens without a text
        assert "".join(text_pieces(tokenizer, prompt_ids, [3, 4, *[3] * 37])) == " ab" + " a" * 37


def test_of_a_real_tokenizer(monkeypatch):
    try:
        default_gguf()
    except ValueError as error:
        pytest.skip(str(error))
    from refmodel.checkpoint.find import find_checkpoint

    tokenizer = find_checkpoint("smollm2-135m").tokenizer()
    text = " wall → 壁が高い, 🧱🧱 und größer"
    ids = tokenizer.encode(text).ids
    pieces = list(text_pieces(tokenizer, tokenizer.encode("prefill").ids, ids))
    assert "".join(pieces) == text and 5 < len(pieces) < len(ids) and "\ufffd" not in text
    assert not any("\ufffd" in piece for piece in pieces)
