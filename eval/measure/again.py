"""Which records are measured again although they are there: what was disturbed, or is named.

disturbed            every record of a kind and length of which one timing's samples spread by more than
                     `eval.measure.timing.MOST_SPREAD`: they were timed in turns, and one alone would be compared with
                     what was timed while the machine was in another state; layers apart are each by itself
KIND                 every record of a kind: linear, attention, prefill, apart, quality
KIND LAYOUT          those of a layout; of kind `attention` of one layer's variant
KIND TOKENS          those at a length
KIND LAYOUT TOKENS   the one of a layout at a length
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, get_args

from attention.shorthand import count_written
from attention.unknown import unknown
from eval.measure.named_layout import LayoutNames
from eval.measure.plan import Cell as Planned
from eval.measure.records.schema import Cell, Kind, Record
from eval.measure.timing import MOST_SPREAD, spread_of

DISTURBED: Final = "disturbed"

KINDS: Final[tuple[str, ...]] = get_args(Kind)


def refuse_words(words: Sequence[str]) -> None:
    """Raises `ValueError` in one line for what is no list of the above, before a model is read for it."""
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"again is a list of texts, {DISTURBED!r} or 'KIND LAYOUT TOKENS', got {words!r}")
    for word in words:
        kind = _parts(word)[0]
        if kind not in (DISTURBED, *KINDS) or (kind == DISTURBED != word.strip()):
            raise ValueError(unknown("kind of record to measure again", word, (DISTURBED, *KINDS)))


def refuse_unplanned(words: Sequence[str], cells: Iterable[Planned], names: LayoutNames) -> None:
    """Raises `ValueError` in one line for a layout that cannot be read, and for a word that names none of a plan.

    That nothing is disturbed is no fault, nor that what is named was never measured: it is missing, then.
    """
    places = [(cell.kind, layout.name, cell.tokens) for cell in cells for layout in cell.layouts]
    for word in words:
        kind = _parts(word)[0]
        if kind != DISTURBED and not any(_is_named(word, names, *place) for place in places):
            there = [f"{kind} {layout} {n}" for one, layout, n in places if one == kind] or [one for one, *_ in places]
            raise ValueError(f"this comparison measures no {word!r}; it measures {', '.join(dict.fromkeys(there))}")


def cells_again(words: Sequence[str], records: Sequence[Record], names: LayoutNames) -> frozenset[Cell]:
    """The cells of those of `records` that `words` name, which `refuse_unplanned` let pass."""
    return frozenset(record.cell for word in words for record in _named(word, records, names))


def is_disturbed(record: Record) -> bool:
    """Whether the samples of a timing of it spread by more than `MOST_SPREAD`."""
    return any(spread > MOST_SPREAD for spread, _ in spreads(record))


def spreads(record: Record) -> Iterator[tuple[float, str]]:
    """Of every timing of a record, and what it is of; layers apart are timed one by one, and their sum is no timing."""
    what = f"{record.kind} of {record.layout}, {record.tokens:,} tokens"
    for name, timing in record.parts.items():
        yield spread_of(timing.samples_ms), f"{what}, {name}"
    if record.timing and not record.parts:
        yield spread_of(record.timing.samples_ms), what


def _named(word: str, records: Sequence[Record], names: LayoutNames) -> list[Record]:
    if _parts(word)[0] == DISTURBED:
        return _disturbed(records)
    return [one for one in records if _is_named(word, names, one.kind, one.layout, one.tokens)]


def _is_named(word: str, names: LayoutNames, kind: Kind, layout: str, tokens: int) -> bool:
    """Whether the record of a kind, a layout and a length is among what a word names; `disturbed` names none."""
    of_kind, name, n = _parts(word)
    if name:
        name = (names.single_layer if of_kind == "attention" else names.layout)(name).name
    return kind == of_kind and name in ("", layout) and n in (None, tokens)


def _disturbed(records: Sequence[Record]) -> list[Record]:
    shaken = {_turn_of(one) for one in records if is_disturbed(one)}
    return [one for one in records if _turn_of(one) in shaken]


def _turn_of(record: Record) -> tuple[str, int, str]:
    """What was sampled in turns with it: all of its kind and length; layers apart are timed layout by layout."""
    return record.kind, record.tokens, record.layout if record.kind == "apart" else ""


def _parts(word: str) -> tuple[str, str, int | None]:
    """Kind, layout and length; "" and None where nothing is said of them."""
    kind, _, rest = word.strip().partition(" ")
    layout, _, last = rest.strip().rpartition(" ")
    try:
        return kind, layout.strip(), count_written(last)
    except ValueError:
        return kind, rest.strip(), None
