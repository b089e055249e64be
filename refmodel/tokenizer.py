"""The tokenizer of a checkpoint: from a folder's tokenizer.json, or rebuilt from a GGUF file's vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gguf import TokenType
from tokenizers import AddedToken, Regex, Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

from refmodel.fields import Fields

_KEY: Final = "tokenizer.ggml."
_QWEN2_WORDS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def folder_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder's tokenizer.json."""
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise ValueError(f"{folder}: no readable tokenizer.json here ({error})") from error


def vocabulary_tokenizer(metadata: Fields) -> Tokenizer:
    """The tokenizer that a GGUF file's settings describe.

    They hold the vocabulary and the merges and only name the way in which text is split before them; the ids are
    those of the original tokenizer.  Raises `ValueError` for a vocabulary or a split that is not known here.
    """
    values = {key.removeprefix(_KEY): value for key, value in metadata.values.items() if key.startswith(_KEY)}
    fields = Fields(values, f"{metadata.where}: tokenizer.ggml")
    fields.choice("model", "gpt2")
    for edge in ("add_bos_token", "add_eos_token"):
        fields.require(edge, False)
    tokens = fields.get("tokens", list)
    kinds = fields.get("token_type", list, [TokenType.NORMAL] * len(tokens))
    if len(kinds) != len(tokens):
        raise ValueError(f"{fields.where}: {len(tokens)} tokens with {len(kinds)} token_type entries")
    tokenizer = Tokenizer(_byte_pairs(fields, tokens, kinds))
    if fields.get("pre", str, "default") == "qwen2":
        tokenizer.normalizer = NFC()
    tokenizer.pre_tokenizer = _splitter(fields)
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, kinds, strict=True):
        if kind in (TokenType.CONTROL, TokenType.USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=kind == TokenType.CONTROL, normalized=False)])
    return tokenizer


def _byte_pairs(fields: Fields, tokens: list[str], kinds: list[int]) -> BPE:
    """The vocabulary, less the filler that rounds its size up, and the merges in their order."""
    vocabulary = {
        token: place for place, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind != TokenType.UNUSED
    }
    merges = [tuple(merge.split(" ")) for merge in fields.get("merges", list)]
    try:
        return BPE(vocab=vocabulary, merges=merges)
    except Exception as error:  # a merge of something that is not in the vocabulary, or not a pair
        raise ValueError(f"{fields.where}: merges do not fit the tokens ({error})") from error


def _splitter(fields: Fields) -> PreTokenizer:
    splitters = {
        "default": ByteLevel(add_prefix_space=False),
        "gpt-2": ByteLevel(add_prefix_space=False),
        # Digits first: spaces before a number then stay together, so the order decides ids.
        "smollm": Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]),
        "qwen2": Sequence([Split(Regex(_QWEN2_WORDS), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]),
    }
    fields.require("pre", *splitters)
    return splitters[fields.get("pre", str, "default")]
