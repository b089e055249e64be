"""The tokenizer that a GGUF file's settings describe."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

from tokenizers import Tokenizer

from refmodel.fields import Fields
from refmodel.tokenizer.byte_pairs import byte_pair_tokenizer
from refmodel.tokenizer.edges import with_edges
from refmodel.tokenizer.pieces import Kind, Pieces, Prefix, piece_tokenizer
from refmodel.tokenizer.splits import SPLITS

_KEY: Final = "tokenizer.ggml."
_ENDS: Final = ("eos_token_id", "eot_token_id", "eom_token_id")
_USUAL_EDGES: Final = MappingProxyType({"gpt2": (11, 11), "llama": (1, 2)})
"""The first and the last token of a text where a file names none, as llama.cpp has them."""


def gguf_tokenizer(metadata: Fields) -> Tokenizer:
    """The tokenizer of the vocabulary in `metadata`.

    A file holds tokens, and merges (`gpt2`) or scores (`llama`), and only names the way in which text is split before
    merging; the ids are those of llama.cpp.  Raises `ValueError` for a vocabulary or a split that is not known here.
    """
    fields = _fields(metadata)
    kinds: dict[str, Callable[[Fields], Tokenizer]] = {"gpt2": _of_merges, "llama": _of_scores}
    model = fields.choice("model", *kinds)
    try:
        tokenizer = kinds[model](fields)
        split = SPLITS[fields.get("pre", str, "default")] if model == "gpt2" else None
        begins = fields.get("add_bos_token", bool, split.begins if split else True)
        ends = fields.get("add_eos_token", bool, False)
        usual = _USUAL_EDGES[model]
        first = _token_id(fields, "bos_token_id", usual[0]) if begins else None
        return with_edges(tokenizer, first, _token_id(fields, "eos_token_id", usual[1]) if ends else None)
    except ValueError as error:
        if str(error).startswith(fields.where):
            raise
        raise ValueError(f"{fields.where}: {error}") from error


def gguf_end_tokens(metadata: Fields) -> tuple[int, ...]:
    """The ids that a file says end a text, a turn or a message."""
    fields = _fields(metadata)
    found = (_token_id(fields, key, None) for key in _ENDS)
    return tuple(sorted({number for number in found if number is not None}))


def _fields(metadata: Fields) -> Fields:
    values = {key.removeprefix(_KEY): value for key, value in metadata.values.items() if key.startswith(_KEY)}
    return Fields(values, f"{metadata.where}: tokenizer.ggml")


def _token_id(fields: Fields, key: str, default: int | None) -> int | None:
    """Of any size: what stands for none may be the largest number of 32 bits."""
    found = fields.values.get(key, default)
    if found is not None and type(found) is not int:
        raise ValueError(f"{fields.where}: {key} must be of type int, got {reprlib.repr(found)}")
    return found


def _tokens(fields: Fields) -> tuple[list[str], list[int]]:
    tokens = fields.get("tokens", list)
    kinds = fields.get("token_type", list, [Kind.NORMAL] * len(tokens))
    if len(kinds) != len(tokens):
        raise ValueError(f"{len(tokens)} tokens with {len(kinds)} token_type entries")
    return _all("tokens", tokens, str), _all("token_type", kinds, int)


def _all(key: str, found: list[Any], kind: type) -> list[Any]:
    if odd := [one for one in found if not isinstance(one, kind) or isinstance(one, bool)]:
        raise ValueError(f"{key} must be of type {kind.__name__} each, got {reprlib.repr(odd[0])}")
    return found


def _of_merges(fields: Fields) -> Tokenizer:
    """The vocabulary is without the filler that rounds its size up."""
    fields.require("pre", *SPLITS)
    tokens, kinds = _tokens(fields)
    of_kind = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind != Kind.NORMAL]
    unused = {token for token, kind in of_kind if kind == Kind.UNUSED}
    vocabulary = {token: place for place, token in enumerate(tokens) if token not in unused}
    return byte_pair_tokenizer(
        vocabulary, _all("merges", fields.get("merges", list), str), SPLITS[fields.get("pre", str, "default")],
        [token for token, kind in of_kind if kind == Kind.CONTROL],
        [token for token, kind in of_kind if kind == Kind.USER_DEFINED],
    )  # fmt: skip


def _of_scores(fields: Fields) -> Tokenizer:
    tokens, kinds = _tokens(fields)
    prefix: Prefix = "each" if fields.get("add_space_prefix", bool, True) else "none"
    scores = _all("scores", fields.get("scores", list), float)
    return piece_tokenizer(Pieces(tokens, scores, kinds, prefix, escapes_first=False))
