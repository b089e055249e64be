"""One sentence for a word that is not known: what it was, the nearest that is, and all that are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, word: str, accepted: Iterable[str]) -> str:
    """`no card 'r97' (did you mean 'r9700'?); accepted: r9700, ...`."""
    known = list(accepted)
    close = difflib.get_close_matches(word, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"no {what} {word!r}{hint}; accepted: {', '.join(known)}"
