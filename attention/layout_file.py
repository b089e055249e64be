"""Layouts out of JSON files, where spans that somebody searched or trained do not fit on a command line.

    ["full", "swa(128)", ...]                                           a spelling for each layer
    {"sinks": 64, "spans": [[256, "full", "64+0.25N"], ...]}            a span for each layer and (key-value) head
    {"sinks": 64, "recent": 256, "threshold": 0.5, "gates": [[0.93, 0.02, 0.4], ...]}
                                                                        full where the gate is above the threshold

Numbers are keys, as in layout strings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attention.mixer import Mixer
from attention.parameters import SpanRule, read_parameter
from attention.pattern import UNBOUNDED
from attention.regular_file import regular_file
from attention.span_mixture import SpanMixture

ACCEPTED = 'a list of spellings, {"sinks", "spans"} or {"sinks", "recent", "threshold", "gates"}'


def read_layout(path: str | Path) -> list[str | Mixer]:
    """An entry for each layer, as `attention.layout.parse_layout` takes them.

    Gates are DuoAttention's (2410.10819), one per key-value head: above `threshold` (0.5 if absent) the head is full,
    below it sees `recent` keys, its own included, and the sinks.

    Raises `ValueError` that names the file and what was wrong.
    """
    try:
        file = regular_file(Path(path).expanduser())
        layout = json.loads(file.read_bytes().decode())
    except (OSError, RuntimeError) as error:  # RuntimeError: a home folder of nobody, or a nesting that is too deep
        raise ValueError(f"cannot read layout file {path}: {getattr(error, 'strerror', None) or error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"layout file {path} is not JSON: {error}") from error
    if isinstance(layout, list):
        if strange := [entry for entry in layout if not isinstance(entry, str)]:
            raise ValueError(f"layout file {path}: a list names a variant for each layer, got {strange[0]!r}")
        return layout
    kinds = {"spans": (_read_span, {"sinks", "spans"}), "gates": (None, {"sinks", "recent", "threshold", "gates"})}
    kind = next((kind for kind in kinds if isinstance(layout, dict) and kind in layout), None)
    if kind is None:
        raise ValueError(f"layout file {path} holds no layout; accepted: {ACCEPTED}")
    read, known = kinds[kind]
    try:
        if surplus := layout.keys() - known:
            raise ValueError(f"no entry {min(surplus)!r}; accepted: {', '.join(sorted(known))}")
        sinks = _number(layout, "sinks", int)
        return [SpanMixture(spans, sinks) for spans in _table(layout, kind, read or _gate_reader(layout))]
    except ValueError as error:
        raise ValueError(f"layout file {path}: {error}") from error


def _table(layout: dict[str, Any], kind: str, read: Callable[[Any], SpanRule]) -> list[tuple[SpanRule, ...]]:
    layers = layout[kind]
    if not isinstance(layers, list) or not all(isinstance(layer, list) for layer in layers):
        raise ValueError(f"{kind!r} must be a list for each layer, with an entry for each head")
    return [tuple(read(entry) for entry in layer) for layer in layers]


def _read_span(entry: Any) -> SpanRule:
    rules = read_parameter(tuple[SpanRule, ...], str(entry))
    if len(rules) != 1:
        raise ValueError(f"each head has one span, got {entry!r}")
    return rules[0]


def _gate_reader(layout: dict[str, Any]) -> Callable[[Any], SpanRule]:
    recent, threshold = _number(layout, "recent", int), _number({"threshold": 0.5} | layout, "threshold", float)

    def read(entry: Any) -> SpanRule:
        gate = _number({"a gate": entry}, "a gate", float)
        return SpanRule(UNBOUNDED if gate > threshold else recent)

    return read


def _number(layout: dict[str, Any], name: str, kind: type) -> Any:
    value = layout.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        raise ValueError(f"{name} must be a {'' if kind is float else 'whole '}number, got {value!r}")
    return value
