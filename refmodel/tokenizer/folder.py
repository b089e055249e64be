"""The tokenizer of a Hugging Face folder: tokenizer.json, tokenizer.model, or vocab.json with merges.txt."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer

from refmodel.checkpoint.recognise import refuse_pointer
from refmodel.json_object import read_json
from refmodel.tokenizer.byte_pairs import byte_pair_tokenizer
from refmodel.tokenizer.edges import whole_texts, with_edges
from refmodel.tokenizer.pieces import Prefix, piece_tokenizer
from refmodel.tokenizer.sentencepiece_file import read_pieces
from refmodel.tokenizer.splits import SPLITS

FILES: Final = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json",
)  # fmt: skip
_SPLIT_OF: Final = {"qwen2": "qwen2", "qwen3": "qwen2", "gpt2": "gpt-2"}
"""Of families whose folders hold vocab.json: their way to split, by how the names of class and family begin."""


def folder_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder.  Raises `ValueError` where it has none, or none that can be read."""
    for file in FILES:
        refuse_pointer(folder / file)
    if (folder / "tokenizer.json").exists():
        return whole_texts(_whole(folder / "tokenizer.json"))
    if (folder / "tokenizer.model").exists():
        return _of_pieces(folder)
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        return _of_merges(folder)
    raise ValueError(
        f"{folder} has no tokenizer.json, tokenizer.model, or vocab.json with merges.txt to read a text with; "
        "a model's `prefill` takes token ids"
    )


def _whole(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise ValueError(f"{path.parent}: no readable tokenizer.json here ({error})") from error


def _of_pieces(folder: Path) -> Tokenizer:
    """Of sentencepiece."""
    told = read_json(folder / "tokenizer_config.json")
    pieces = read_pieces(folder / "tokenizer.model")
    if pieces.prefix != "none":
        llama = _family(folder) == "llama" and told.get("tokenizer_class") in ("LlamaTokenizer", "LlamaTokenizerFast")
        pieces = dataclasses.replace(pieces, prefix=_prefix(llama, told.get("legacy")))
    return _with_told_edges(_with_added(piece_tokenizer(pieces), folder, told), folder, told)


def _prefix(llama: bool, legacy: bool | None) -> Prefix:
    """As transformers 5 has it, which is not the same for Llama's own class as for others."""
    if llama:
        return "each lacking" if legacy else "first lacking"
    return "first lacking" if legacy is False else "each"


def _of_merges(folder: Path) -> Tokenizer:
    told = read_json(folder / "tokenizer_config.json")
    names = (str(told.get("tokenizer_class", "")), _family(folder))
    split = next((own for name in names for begin, own in _SPLIT_OF.items() if name.lower().startswith(begin)), None)
    if split is None:
        raise ValueError(
            f"{folder}: how {names[0] or names[1] or 'this model'} splits text before vocab.json and merges.txt is not "
            "known here; give a tokenizer.json, which transformers writes (save_pretrained)"
        )
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    vocabulary = read_json(folder / "vocab.json")
    try:
        tokenizer = byte_pair_tokenizer(vocabulary, merges, SPLITS[split], [], [])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder}: vocab.json and merges.txt: {error}") from error
    return _with_told_edges(_with_added(tokenizer, folder, told), folder, told)


def _with_added(tokenizer: Tokenizer, folder: Path, told: dict[str, Any]) -> Tokenizer:
    """With the tokens that tokenizer_config.json or added_tokens.json put beside the vocabulary."""
    described = {int(number): one for number, one in told.get("added_tokens_decoder", {}).items()}
    listed = read_json(folder / "added_tokens.json")
    plain = {number: {"content": token, "special": True} for token, number in listed.items()}
    for number, one in sorted((plain | described).items()):
        token = AddedToken(
            one["content"], special=one.get("special", False), normalized=one.get("normalized", False),
            lstrip=one.get("lstrip", False), rstrip=one.get("rstrip", False), single_word=one.get("single_word", False),
        )  # fmt: skip
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
        if tokenizer.token_to_id(token.content) != number:
            found = tokenizer.token_to_id(token.content)
            raise ValueError(f"{folder}: its added token {token.content!r} is to be {number}, and comes to be {found}")
    return tokenizer


def _with_told_edges(tokenizer: Tokenizer, folder: Path, told: dict[str, Any]) -> Tokenizer:
    """With the first and last token that tokenizer_config.json asks for: none, where it does not ask."""
    numbers = []
    for edge in ("bos", "eos"):
        token = told.get(f"{edge}_token")
        name = token.get("content") if isinstance(token, dict) else token
        number = tokenizer.token_to_id(name) if told.get(f"add_{edge}_token") and name else None
        if told.get(f"add_{edge}_token") and name and number is None:
            raise ValueError(f"{folder}: {edge}_token is {name!r}, which the vocabulary does not have")
        numbers.append(number)
    return with_edges(tokenizer, *numbers)


def _family(folder: Path) -> str:
    return str(read_json(folder / "config.json").get("model_type", ""))
