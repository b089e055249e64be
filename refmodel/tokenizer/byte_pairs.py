"""Byte pairs over bytes that are spelled as letters, as in GPT-2 and most models since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.normalizers import NFC

from refmodel.tokenizer.library import refusals
from refmodel.tokenizer.merges import unfit
from refmodel.tokenizer.splits import Split


def byte_pair_tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[str], split: Split, special: Sequence[str], added: Sequence[str]
) -> Tokenizer:
    """The tokenizer of a vocabulary and its merges, "a b", in their order.

    Args:
        special, added: tokens that are found in a text before it is split; decoding leaves the special ones out.

    Raises `ValueError` for merges of what the vocabulary does not have.
    """
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    if fault := unfit(vocabulary, pairs):
        raise ValueError(f"merges do not fit the tokens: {fault}")
    with refusals("merges do not fit the tokens"):
        model = BPE(vocab=dict(vocabulary), merges=pairs, ignore_merges=split.whole_words)
    tokenizer = Tokenizer(model)
    if split.composed:
        tokenizer.normalizer = NFC()
    tokenizer.pre_tokenizer = split.pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
    return tokenizer
