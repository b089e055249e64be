"""The text of new tokens while they come, in pieces that never cut a character."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from refmodel.token_ids import continuation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CUT: Final = "\N{REPLACEMENT CHARACTER}"
_TAIL_TOKENS: Final = 16


def text_pieces(tokenizer: Tokenizer, prompt_ids: Sequence[int], new_ids: Iterable[int]) -> Iterator[str]:
    """The text of `new_ids` after a prompt, piece by piece: together they are `refmodel.token_ids.continuation`.

    What ends amid a character waits for the tokens with its other bytes, and comes as it is where none follow.
    (`tokenizers.decoders.DecodeStream` keeps such an end to itself, and reads bytes that are no text otherwise.)
    """
    tail, ids, said = _tail(tokenizer, prompt_ids), [], ""
    for token in new_ids:
        ids.append(token)
        text = continuation(tokenizer, tail, ids)
        settled = text.rstrip(_CUT)
        if len(settled) > len(said) and settled.startswith(said):
            yield settled[len(said) :]
            said = settled
            if settled == text and len(ids) >= _TAIL_TOKENS:  # all is said: it is as a prompt to what follows
                tail, ids, said = _tail(tokenizer, [*tail, *ids]), [], ""
    rest = continuation(tokenizer, tail, ids).removeprefix(said)
    if rest:
        yield rest


def _tail(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """So much of the end of a prompt as has a text: what follows begins as it does after the whole."""
    count = _TAIL_TOKENS
    while count < len(ids) and not tokenizer.decode(list(ids[-count:])).strip(_CUT):
        count *= 2
    return list(ids[-count:])
