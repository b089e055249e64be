"""What every tokenizer here does with the whole of a text: its first and last token, and nothing cut or filled up."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing


def with_edges(tokenizer: Tokenizer, first: int | None, last: int | None) -> Tokenizer:
    """The tokenizer, changed in place: texts begin with the token `first` and end with `last`, where there is one.

    Raises `ValueError` for an id that the vocabulary does not have.
    """
    names = {number: tokenizer.id_to_token(number) for number in (first, last) if number is not None}
    for number, name in names.items():
        if name is None:
            raise ValueError(f"a text begins or ends with token {number}, which the vocabulary does not have")
    if names:
        order = [first, "$A", last]
        tokenizer.post_processor = TemplateProcessing(
            single=[part if isinstance(part, str) else names[part] for part in order if part is not None],
            special_tokens=[(name, number) for number, name in names.items()],
        )
    return tokenizer


def whole_texts(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, changed in place, without the truncation and padding that training left in its file."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
