"""What tokenizer_config.json and the older files beside it say: named tokens, added ones, and a text's edges.

Which file counts, in which order tokens are added and what their entries mean by default is as in transformers 5
(`PreTrainedTokenizerBase._from_pretrained`, `TokenizersBackend.__init__`).
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer

from refmodel.fields import Fields
from refmodel.json_object import read_json
from refmodel.tokenizer.library import refusals
from refmodel.words import shown

FILES: Final = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_NAMES: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FURTHER: Final = ("extra_special_tokens", "additional_special_tokens")
_FLAGS: Final = ("lstrip", "rstrip", "single_word")
_DIGITS: Final = 10  # of the largest id


@dataclass(frozen=True)
class Told:
    """The tokens that are put beside a vocabulary.

    Attributes:
        added: those with an id, in the order of their ids.
        special: those that are only named, in the order in which they are added.
        first, last: the texts of the tokens that a text is to begin and end with; empty for none.
        splits_special: whether the texts of special tokens are read as any other.
    """

    added: Mapping[int, AddedToken]
    special: tuple[AddedToken, ...]
    first: str
    last: str
    splits_special: bool


def settings(folder: Path) -> Fields:
    """tokenizer_config.json; special_tokens_map.json counts where the former lists no added tokens."""
    path = folder / "tokenizer_config.json"
    found = read_json(path)
    if "added_tokens_decoder" not in found:
        found = found | read_json(folder / "special_tokens_map.json")
    return Fields(found, str(path))


def told_by(fields: Fields, folder: Path) -> Told:
    """Raises `ValueError` for an entry that is no token, naming it."""
    named = named_tokens(fields)
    contents = {token.content for token in named.values()}
    return Told(
        added=_added(fields, folder, contents),
        special=tuple({token.content: token for token in (*named.values(), *_further(fields))}.values()),
        first=named["bos_token"].content if fields.get("add_bos_token", bool, False) and "bos_token" in named else "",
        last=named["eos_token"].content if fields.get("add_eos_token", bool, False) and "eos_token" in named else "",
        splits_special=fields.get("split_special_tokens", bool, False),
    )


def with_told(tokenizer: Tokenizer, told: Told) -> Tokenizer:
    """The tokenizer, changed in place, with the tokens that are told: those with an id, then those that are named only.

    A token that is added once more has the last one's flags: one that is only named leaves those that it has.
    """
    with refusals("its added tokens cannot be added"):
        for token in told.added.values():
            add(tokenizer, token)
        known = added_texts(tokenizer)
        for token in told.special:
            if token.content not in known:
                add(tokenizer, token)
    tokenizer.encode_special_tokens = told.splits_special
    return tokenizer


def add(tokenizer: Tokenizer, token: AddedToken) -> None:
    """Puts a token beside the vocabulary: under the id that its text has there, or after the last."""
    (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])


def added_texts(tokenizer: Tokenizer) -> set[str]:
    """The texts of the tokens beside the vocabulary."""
    return {token.content for token in tokenizer.get_added_tokens_decoder().values()}


def named_tokens(fields: Fields) -> dict[str, AddedToken]:
    """The special tokens by the names that a file has for them: `bos_token`, or a model's own such as `image_token`."""
    own = [
        key for key, value in fields.values.items()
        if key.endswith("_token") and key not in _NAMES and isinstance(value, str)
    ]  # fmt: skip
    told = {key: fields.values.get(key) for key in (*_NAMES, *own)}
    return {key: _token(one, f"{fields.where}: {shown(key)}") for key, one in told.items() if one is not None}


def _further(fields: Fields) -> list[AddedToken]:
    key = next((key for key in _FURTHER if fields.values.get(key)), _FURTHER[0])
    found = fields.values.get(key) or []
    if not isinstance(found, list | dict):
        raise ValueError(f"{fields.where}: {key} is {reprlib.repr(found)}; accepted: a list of tokens")
    return [_token(one, f"{fields.where}: {key}") for one in (found.values() if isinstance(found, dict) else found)]


def _added(fields: Fields, folder: Path, named: set[str]) -> dict[int, AddedToken]:
    """Of added_tokens_decoder, or else of added_tokens.json; those that are named are special."""
    if "added_tokens_decoder" not in fields.values:
        path = folder / "added_tokens.json"
        listed = read_json(path)
        if odd := [number for number in listed.values() if type(number) is not int]:
            raise ValueError(f"{path}: {reprlib.repr(odd[0])} is no token id")
        return _by_id({str(number): {"content": text} for text, number in listed.items()}, str(path), named)
    return _by_id(fields.get("added_tokens_decoder", dict, {}), f"{fields.where}: added_tokens_decoder", named)


def _by_id(entries: Mapping[str, Any], where: str, named: set[str]) -> dict[int, AddedToken]:
    for number in entries:
        if not (number.isascii() and number.isdecimal() and len(number) <= _DIGITS):
            raise ValueError(f"{where}: {reprlib.repr(number)} is no token id")
    tokens = {int(number): _token(one, f"{where}: {number}", special=False) for number, one in entries.items()}
    for token in tokens.values():
        token.special = token.special or token.content in named
    return dict(sorted(tokens.items()))


def _token(one: Any, where: str, *, special: bool = True) -> AddedToken:
    """A token that is told by its text or by an object; `special` where the object does not say."""
    entry = Fields({"content": one} if isinstance(one, str) else one if isinstance(one, dict) else {}, where)
    content = entry.values.get("content")
    if not isinstance(content, str):
        raise ValueError(f"{where} is {reprlib.repr(one)}; accepted: a token's text, or an object with its content")
    special = entry.get("special", bool, special)
    flags = {flag: entry.get(flag, bool, False) for flag in _FLAGS}
    with refusals(f"{where} is no token"):
        return AddedToken(content, special=special, normalized=entry.get("normalized", bool, not special), **flags)
