"""What every tokenizer here does with the whole of a text: its first and last token, and nothing cut or filled up."""

from __future__ import annotations

from typing import Final

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

_MOST_ID: Final = 2**32 - 1


def with_edges(tokenizer: Tokenizer, first: int | None, last: int | None) -> Tokenizer:
    """The tokenizer, changed in place: texts begin with the token `first` and end with `last`, where there is one.

    Raises `ValueError` for an id that the vocabulary does not have.  llama.cpp warns of it and takes a token that the
    file does not name; here a text that begins otherwise than its file says is not read.
    """
    texts = {}
    for name, number in (("first", first), ("last", last)):
        if number is None:
            continue
        text = tokenizer.id_to_token(number) if 0 <= number <= _MOST_ID else None
        if text is None:
            raise ValueError(f"a text begins or ends with token {number}, which the vocabulary does not have")
        texts[name] = {"id": name, "ids": [number], "tokens": [text]}
    if texts:  # under names of ours: a token's own text may be one of the template's signs
        order = [name for name in ("first", "$A", "last") if name in texts or name == "$A"]
        tokenizer.post_processor = TemplateProcessing(single=order, special_tokens=list(texts.values()))
    return tokenizer


def whole_texts(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, changed in place, without what training left in its file: truncation, padding, and merges that are
    left out at random (dropout)."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None) is not None:
        tokenizer.model.dropout = None
    return tokenizer
