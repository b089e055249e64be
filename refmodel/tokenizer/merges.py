"""Merges and their vocabulary, looked at before the library joins them: it panics beyond the longest token."""

from __future__ import annotations

from collections.abc import Container, Iterable

from refmodel.words import quoted


def unfit(vocabulary: Container[str], pairs: Iterable[tuple[str, str]], prefix: str = "") -> str:
    """What is wrong with the first of `pairs` that the vocabulary does not have, in parts or joined; empty for none.

    `prefix` is what later parts of a word begin with, and lose where they are joined.

    Examples:
        >>> unfit({"a", "b"}, [("a", "b")])
        "'a' and 'b' make 'ab'; the vocabulary lacks 'ab'"
    """
    for left, right in pairs:
        if not right.startswith(prefix):
            return f"{quoted(right)} does not begin with {quoted(prefix)}, as later parts do"
        joined = left + right[len(prefix) :]
        if missing := [part for part in (left, right, joined) if part not in vocabulary]:
            made = f"{quoted(left)} and {quoted(right)} make {quoted(joined)}"
            return f"{made}; the vocabulary lacks {quoted(missing[0])}"
    return ""
