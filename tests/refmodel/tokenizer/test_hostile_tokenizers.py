"""Folders of a tokenizer with a broken file: each reads a text into ids, or is refused in one line that names it.

Nothing here ends the library underneath in a panic: of tokenizer.json these mutants change what is looked at before the
library reads it, and values that it refuses by an exception, and each of them is held to that.
"""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from refmodel.token_ids import text_ids
from tests.checkpoints import load_tokenizer
from tests.foreign_values import as_json, mutated, mutated_text
from tests.held import held, one_line
from tests.refmodel.tokenizer.test_charsmap import table
from tests.refmodel.tokenizer.test_folder import LETTERS, PIECES, message
from tests.refmodel.tokenizer.test_library import whole_json

FEW, MANY = 150, 2_000  # `--cases` says otherwise
TEXT = "ab c<s> \u00fc 12<e></s>"
NAMED = {
    "bos_token": "<s>", "eos_token": {"content": "<e>", "lstrip": True, "normalized": False},
    "extra_special_tokens": ["</s>", {"content": "<t>", "special": False}],
}  # fmt: skip
SPECIAL = {"bos_token": "<s>", "eos_token": "<e>", "extra_special_tokens": ["</s>"]}
TOLD = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False, "legacy": False}
ADDED = {"257": {"content": "<s>", "special": True}, "258": {"content": "</s>", "rstrip": False}}
VOCABULARY = {token: number for number, token in enumerate([*LETTERS, "ab"])}


def with_steps() -> dict[str, Any]:
    """tokenizer.json with steps of many kinds one after the other, through which a text comes as it was."""
    found, letters = (
        whole_json(),
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    )
    found["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "NFC"}, {"type": "Replace", "pattern": {"String": "~"}, "content": "ab"},
        {"type": "Replace", "pattern": {"Regex": "~+"}, "content": ""}, {"type": "Prepend", "prepend": "a"},
        {"type": "Strip", "strip_left": True, "strip_right": False},
        {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
         "lowercase": True},
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table()).decode()},
    ]}  # fmt: skip
    found["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "Isolated"},
        {"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated", "invert": False}, letters,
    ]}  # fmt: skip
    found["post_processor"] = {"type": "Sequence", "processors": [letters, found["post_processor"]]}
    found["decoder"] = {"type": "Sequence", "decoders": [
        letters, {"type": "Replace", "pattern": {"String": "_"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]}  # fmt: skip
    return found


FOLDERS: tuple[dict[str, Any], ...] = (
    {"tokenizer.json": whole_json(), "tokenizer_config.json": NAMED},
    {"tokenizer.json": with_steps(), "tokenizer_config.json": NAMED},
    {
        "vocab.json": VOCABULARY, "merges.txt": "#version: 0.2\na b\n",
        "tokenizer_config.json": TOLD | NAMED | {"added_tokens_decoder": ADDED},
    },
    {
        "vocab.json": VOCABULARY, "merges.txt": "a b\n", "tokenizer_config.json": TOLD,
        "special_tokens_map.json": NAMED, "added_tokens.json": {"<s>": 257, "</s>": 258},
    },
    {"tokenizer.model": message(*PIECES), "tokenizer_config.json": TOLD | SPECIAL},
)  # fmt: skip
"""The files of each kind of folder: JSON, text or bytes."""


def written(content: Any) -> bytes:
    text = as_json(content) if isinstance(content, dict) else content
    return text.encode() if isinstance(text, str) else text


def broken(content: Any, rng: random.Random) -> bytes:
    """JSON in its values, anything in its bytes."""
    if isinstance(content, dict) and rng.random() < 0.8:
        return as_json(mutated(content, rng)).encode()
    return mutated_text(written(content), rng)


def refused(error: ValueError, name: Path) -> None:
    one_line(error, name)
    while error.__cause__ is not None:
        error = error.__cause__
        assert isinstance(error, Exception), "a panic: it is to be looked at before the library reads it"


def mutants(kind: int, seed: int, count: int, folder: Path) -> dict[str, int]:
    rng, ends = random.Random(seed), {"refused": 0, "read": 0}
    files = FOLDERS[kind]
    for name, content in files.items():
        (folder / name).write_bytes(written(content))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert text_ids(load_tokenizer(folder), TEXT, 999, "here")
    for _ in range(count):
        name = rng.choice(list(files))
        (folder / name).write_bytes(changed := broken(files[name], rng))
        with held(len(changed)):
            try:
                tokenizer = load_tokenizer(folder)
                ids = text_ids(tokenizer, TEXT, 2**32, str(folder))
            except ValueError as error:
                refused(error, folder)
                ends["refused"] += 1
            else:
                ends["read"] += 1
                assert all(number >= 0 for number in ids) and isinstance(tokenizer.decode(ids), str)
        (folder / name).write_bytes(written(files[name]))
    return ends


@pytest.mark.parametrize("kind", range(len(FOLDERS)), ids=lambda kind: next(iter(FOLDERS[kind])))
def test_mutants_are_refused_or_read(kind, tmp_path):
    ends = mutants(kind, 0, FEW // 3, tmp_path)
    assert ends["refused"] > FEW // 15 and ends["read"] > FEW // 30, ends


@pytest.mark.slow
@pytest.mark.parametrize("kind", range(len(FOLDERS)), ids=lambda kind: next(iter(FOLDERS[kind])))
def test_many_mutants_are_refused_or_read(share, kind, tmp_path):
    count = share.count(MANY)
    ends = mutants(kind, share.seed, count, tmp_path)
    assert ends["refused"] > count // 5 and ends["read"] > count // 10, ends
