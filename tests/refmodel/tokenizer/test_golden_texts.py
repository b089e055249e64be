"""Golden files of texts: the ids that transformers gave, from folders and from GGUF files of the same vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest

from refmodel.tokenizer.sentencepiece_file import read_pieces
from tests.checkpoints import load_tokenizer

FOLDERS = sorted(path.parent for path in Path(__file__).parents[2].glob("golden/texts/*/ids.json"))


def golden(folder):
    return json.loads((folder / "ids.json").read_text())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_ids_are_those_of_transformers(folder):
    tokenizer = load_tokenizer(folder)
    for text, ids in golden(folder):
        assert tokenizer.encode(text).ids == ids, text


def write_gguf(path, model, told):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    kinds = {str: writer.add_string, bool: writer.add_bool, list: writer.add_array}
    for key, value in told.items():
        kinds[type(value)](f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def test_a_gguf_file_of_merges_gives_the_same(tmp_path):
    (folder,) = (folder for folder in FOLDERS if folder.name == "qwen2-merges")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    tokens = [*sorted(vocabulary, key=vocabulary.get), "<s>", "</s>"]
    told = {"pre": "qwen2", "tokens": tokens, "token_type": [1] * len(vocabulary) + [3, 3]}
    merges = (folder / "merges.txt").read_text().splitlines()[1:]
    tokenizer = load_tokenizer(write_gguf(tmp_path / "m.gguf", "gpt2", told | {"merges": merges}))
    for text, ids in golden(folder):
        assert tokenizer.encode(text).ids == ids, text


@pytest.mark.parametrize(("name", "ends"), [("mistral-pieces", True), ("gemma-pieces", False)])
def test_a_gguf_file_of_pieces_gives_the_same(name, ends, tmp_path):
    (folder,) = (folder for folder in FOLDERS if folder.name == name)
    pieces = read_pieces(folder / "tokenizer.model")
    with_kinds = zip(pieces.texts, pieces.kinds, strict=True)
    spelled = [text.replace("\u2581", " ") if kind == 4 else text for text, kind in with_kinds]
    told = {"tokens": spelled, "scores": list(pieces.scores), "token_type": list(pieces.kinds), "add_eos_token": ends}
    told["add_space_prefix"] = pieces.prefix != "none"
    tokenizer = load_tokenizer(write_gguf(tmp_path / "m.gguf", "llama", told))
    for text, ids in golden(folder):
        if text:
            assert tokenizer.encode(text).ids == ids, text
