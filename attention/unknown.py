"""One sentence for a word that is not known: what it was, the nearest that is, and all that are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from attention.cut import cut


def unknown(what: str, given: object, accepted: Iterable[str]) -> str:
    """`no card 'r97' (did you mean 'r9700'?); accepted: r9700, ...`."""
    known, word = list(accepted), given if isinstance(given, str) else repr(given)
    return f"no {what} {cut(word)!r}{did_you_mean(word, known)}; accepted: {', '.join(known)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'r9700'?)`, or nothing."""
    close = nearest(word, known)
    return f" (did you mean {close!r}?)" if close else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The word that was meant: one that begins as it does, else one that has it within, else one spelled much alike.

    Examples:
        >>> nearest("h100", ["h200", "h100-sxm"]), nearest("nano", ["mano", "gpt-nano"]), nearest("r9070", ["r9700"])
        ('h100-sxm', 'gpt-nano', 'r9700')
    """
    known, asked = list(known), word.lower()
    begin = [one for one in known if asked and one.lower().startswith(asked)]
    within = [one for one in known if asked and asked in one.lower()]
    for candidates, cutoff in ((begin, 0.0), (within, 0.0), (known, 0.6)):
        if close := difflib.get_close_matches(word, candidates, n=1, cutoff=cutoff):
            return close[0]
    return None
