"""The tokenizer of a Hugging Face folder: tokenizer.json, tokenizer.model, or vocab.json with merges.txt; its chat
template."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tokenizers import AddedToken, Tokenizer

from refmodel.checkpoint.recognise import refuse_no_model, refuse_pointer
from refmodel.json_object import read_json, read_text
from refmodel.tokenizer.byte_pairs import byte_pair_tokenizer
from refmodel.tokenizer.chat import ChatTemplate
from refmodel.tokenizer.edges import whole_texts, with_edges
from refmodel.tokenizer.pieces import Prefix, piece_tokenizer
from refmodel.tokenizer.sentencepiece_file import read_pieces
from refmodel.tokenizer.splits import SPLITS
from refmodel.tokenizer.tokenizer_json import read_tokenizer_json
from refmodel.tokenizer.told import FILES as TOLD_FILES
from refmodel.tokenizer.told import Told, add, added_texts, named_tokens, settings, told_by, with_told
from refmodel.words import brief, quoted, shown

FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", *TOLD_FILES)
TEMPLATE_FILE: Final = "chat_template.jinja"
TEMPLATE_FILES: Final = (TEMPLATE_FILE, *TOLD_FILES)
_SPLIT_OF: Final = {"qwen2": "qwen2", "qwen3": "qwen2", "gpt2": "gpt-2"}
"""Of families whose folders hold vocab.json: their way to split, by how the names of class and family begin."""
_LLAMA: Final = ("LlamaTokenizer", "LlamaTokenizerFast")
_END: Final = "<|endoftext|>"
_UNTOLD: Final = MappingProxyType({
    "qwen2": dict.fromkeys(("unk_token", "eos_token", "pad_token"), _END),
    "gpt-2": dict.fromkeys(("unk_token", "bos_token", "eos_token"), _END),
})  # fmt: skip
"""The special tokens of those families' classes, where tokenizer_config.json does not speak of them."""


def folder_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder.  Raises `ValueError` where it has none, or none that can be read."""
    for file in FILES:
        refuse_pointer(folder / file)
    if (folder / "tokenizer.json").exists():
        return _whole(folder)
    if (folder / "tokenizer.model").exists():
        return _of_pieces(folder)
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        return _of_merges(folder)
    refuse_no_model(folder)
    raise ValueError(
        f"{folder} has no tokenizer.json, tokenizer.model, or vocab.json with merges.txt to read a text with; "
        "a model's `prefill` takes token ids"
    )


def folder_template(folder: Path) -> ChatTemplate | None:
    """Of chat_template.jinja, or else of tokenizer_config.json: the one that is called default where it has several.

    None where there is none.  Raises `ValueError` for an entry that is none.
    """
    fields, path = settings(folder), folder / TEMPLATE_FILE
    named = {name: token.content for name, token in named_tokens(fields).items()}
    if path.exists():
        return ChatTemplate(read_text(path), named, str(path))
    found = fields.values.get("chat_template")
    if isinstance(found, list):
        by_name = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = by_name.get("default")
    if found is None:
        return None
    if not isinstance(found, str):
        raise ValueError(f"{fields.where}: chat_template is {brief(found)}; accepted: a text, or a list of them")
    return ChatTemplate(found, named, fields.where)


def _whole(folder: Path) -> Tokenizer:
    """Of tokenizer.json, whose own added tokens count; tokenizer_config.json may name others."""
    tokenizer = whole_texts(read_tokenizer_json(folder / "tokenizer.json"))
    told, own = told_by(settings(folder), folder), added_texts(tokenizer)
    others = {number: token for number, token in told.added.items() if token.content not in own}
    try:
        return with_told(tokenizer, dataclasses.replace(told, added=others))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _of_pieces(folder: Path) -> Tokenizer:
    """Of sentencepiece."""
    fields, path = settings(folder), folder / "tokenizer.model"
    pieces = read_pieces(path)
    if pieces.prefix != "none":
        llama = _family(folder) == "llama" and fields.values.get("tokenizer_class") in _LLAMA
        pieces = dataclasses.replace(pieces, prefix=_prefix(llama, fields.get("legacy", bool, None)))
    try:
        tokenizer = piece_tokenizer(pieces)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return _as_told(tokenizer, told_by(fields, folder), folder)


def _prefix(llama: bool, legacy: bool | None) -> Prefix:
    """As transformers 5 has it, which is not the same for Llama's own class as for others."""
    if llama:
        return "each lacking" if legacy else "first lacking"
    return "first lacking" if legacy is False else "each"


def _of_merges(folder: Path) -> Tokenizer:
    fields = settings(folder)
    names = (fields.get("tokenizer_class", str, ""), _family(folder))
    split = next((own for name in names for begin, own in _SPLIT_OF.items() if name.lower().startswith(begin)), None)
    if split is None:
        raise ValueError(
            f"{folder}: how {shown(names[0] or names[1] or 'this model')} splits text before vocab.json and merges.txt "
            "is not known here; give a tokenizer.json, which transformers writes (save_pretrained)"
        )
    lines = read_text(folder / "merges.txt").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    vocabulary = read_json(folder / "vocab.json")
    if odd := [text for text, number in vocabulary.items() if type(number) is not int]:
        raise ValueError(f"{folder / 'vocab.json'}: the id of {shown(odd[0])} is no whole number")
    try:
        tokenizer = byte_pair_tokenizer(vocabulary, merges, SPLITS[split], [], [])
    except ValueError as error:
        raise ValueError(f"{folder}: vocab.json and merges.txt: {error}") from error
    if fields.get("add_prefix_space", bool, False):
        tokenizer.pre_tokenizer = SPLITS[split].spaced
    told = told_by(fields.with_defaults(_UNTOLD[split]), folder)
    tokenizer = _as_told(tokenizer, told, folder)
    if split == "qwen2":  # its class adds the special ones once more, without their flags
        for token in told.special:
            add(tokenizer, AddedToken(token.content, special=True, normalized=False))
    return tokenizer


def _as_told(tokenizer: Tokenizer, told: Told, folder: Path) -> Tokenizer:
    """With the tokens beside the vocabulary, and the first and last token that tokenizer_config.json asks for.

    Raises `ValueError` where an added token gets another id than it is told to have.
    """
    try:
        with_told(tokenizer, told)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    for number, token in told.added.items():
        if (found := tokenizer.token_to_id(token.content)) != number:
            raise ValueError(
                f"{folder}: its added token {quoted(token.content)} is to be {number}, and comes to be {found}"
            )
    return with_edges(tokenizer, *(tokenizer.token_to_id(text) if text else None for text in (told.first, told.last)))


def _family(folder: Path) -> str:
    return str(read_json(folder / "config.json").get("model_type", ""))
