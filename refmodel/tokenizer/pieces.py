"""Pieces with scores: the byte pairs of sentencepiece, whose words carry their space, spelled as U+2581."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from refmodel.tokenizer.charsmap import fault
from refmodel.tokenizer.library import refusals
from refmodel.words import shown

_SPACE: Final = "\u2581"
_LACKING: Final = MappingProxyType({"each lacking": "always", "first lacking": "first"})

Prefix = Literal["each", "each lacking", "first lacking", "none"]


class Kind(IntEnum):
    """What a piece is, as sentencepiece and GGUF number it."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Pieces:
    """A vocabulary of sentencepiece; a piece's id is its place.

    Attributes:
        scores: of two neighbours those are joined first whose piece has the highest.
        prefix: where a space is put in front: of each stretch of text between added tokens, of each or of the first
            that does not begin with one, or of none.
        single_spaces: whether spaces at the ends are dropped and runs of them become one.
        charsmap: how characters are normalised first, as sentencepiece stores it; empty for not at all.
        escapes_first: whether user-defined pieces are found after spaces are spelled as U+2581 (sentencepiece), or
            before (llama.cpp).
    """

    texts: Sequence[str]
    scores: Sequence[float]
    kinds: Sequence[int]
    prefix: Prefix = "each"
    single_spaces: bool = False
    charsmap: bytes = b""
    escapes_first: bool = True


def piece_tokenizer(pieces: Pieces) -> Tokenizer:
    """The tokenizer; a character that is no piece is spelled in bytes, where the vocabulary has them.

    Raises `ValueError` for lists that do not go together.
    """
    if not len(pieces.texts) == len(pieces.scores) == len(pieces.kinds):
        lengths = (len(pieces.texts), len(pieces.scores), len(pieces.kinds))
        raise ValueError("{} tokens with {} scores and {} token_type entries".format(*lengths))
    if odd := [text for text, score in zip(pieces.texts, pieces.scores, strict=True) if math.isnan(score)]:
        raise ValueError(f"the score of {shown(odd[0])} is no number")
    if pieces.charsmap and (wrong := fault(pieces.charsmap)):
        raise ValueError(wrong)
    with refusals("its pieces make no tokenizer"):
        return _of_pieces(pieces)


def _of_pieces(pieces: Pieces) -> Tokenizer:
    with_kinds = list(zip(pieces.texts, pieces.kinds, strict=True))
    of_kind = {kind: [text for text, own in with_kinds if own == kind] for kind in Kind}
    unknown = next(iter(of_kind[Kind.UNKNOWN]), None)
    whole = of_kind[Kind.USER_DEFINED] if pieces.escapes_first else []
    tokenizer = Tokenizer(
        BPE(vocab={text: place for place, text in enumerate(pieces.texts)}, merges=_merges(pieces), unk_token=unknown,
            fuse_unk=True, byte_fallback=bool(of_kind[Kind.BYTE]), ignore_merges=bool(whole))
    )  # fmt: skip
    tokenizer.normalizer = normalizers.Sequence(list(_normalizers(pieces)))
    if cuts := list(_pre_tokenizers(pieces, whole)):
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    bare = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*bare, *([] if pieces.prefix == "none" else [decoders.Strip(" ", 1, 0)])])
    special = [*of_kind[Kind.UNKNOWN], *of_kind[Kind.CONTROL]]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    if not pieces.escapes_first:
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in of_kind[Kind.USER_DEFINED]])
    return tokenizer


def _merges(pieces: Pieces) -> list[tuple[str, str]]:
    """Every way to put a normal piece together of two, those of the best piece first."""
    normal = [place for place, kind in enumerate(pieces.kinds) if kind == Kind.NORMAL]
    normal.sort(key=lambda place: -pieces.scores[place])
    known = {pieces.texts[place]: None for place in normal}
    lengths = set(map(len, known))  # only where both parts may be pieces: a long piece is not cut everywhere
    cuts = {length: [cut for cut in lengths if length - cut in lengths] for length in lengths}
    return [
        (text[:cut], text[cut:])
        for text in known for cut in sorted(cuts[len(text)]) if text[:cut] in known and text[cut:] in known
    ]  # fmt: skip


def _normalizers(pieces: Pieces) -> Iterator[normalizers.Normalizer]:
    if pieces.charsmap:
        yield normalizers.Precompiled(pieces.charsmap)
    if pieces.single_spaces:
        yield normalizers.Replace(Regex(r"\A +| +\z"), "")
        yield normalizers.Replace(Regex(" {2,}"), " ")
    if pieces.prefix == "each":
        yield normalizers.Prepend(_SPACE)
    yield normalizers.Replace(" ", _SPACE)


def _pre_tokenizers(pieces: Pieces, whole: Sequence[str]) -> Iterator[pre_tokenizers.PreTokenizer]:
    """Nothing cuts a text into words but the pieces that are always `whole`."""
    if scheme := _LACKING.get(pieces.prefix):
        yield pre_tokenizers.Metaspace(_SPACE, scheme, split=False)
    if whole:
        pattern = "|".join(re.escape(text) for text in sorted(whole, key=len, reverse=True))
        yield pre_tokenizers.Split(Regex(pattern), "isolated")
