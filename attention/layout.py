"""Layouts: which variant each layer has, written as people say it.

    full                        every layer
    swa(1024)                   every layer
    5*swa(1024)+full            five local layers, then a global one, repeated to the layer count
    swa(4096, sinks=4)+full     arguments by position or by name
    routed(256|2048|full)       several spans in one argument
    ["full", "swa(128)", ...]   a list: one entry per layer
    path/to/layout.json         a file: see `attention.layout_file`

A layout is a tuple of variants, one per layer: hashable, comparable, and usable as a static argument.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from collections.abc import Sequence
from typing import Any

from attention.layout_file import read_layout
from attention.parameters import read_parameter, spelling
from attention.registry import VARIANTS
from attention.variant import Variant

Layout = tuple[Variant, ...]

_TERM = re.compile(r"(?:(?P<count>\d+)\s*\*\s*)?(?P<call>[^*]+)")
_PLUS = re.compile(r"\+(?![^()]*\))")  # outside parentheses
_CALL = re.compile(r"(?P<name>[a-z_]\w*)\s*(?:\((?P<arguments>[^()]*)\))?", re.IGNORECASE)


def parse_layout(spec: str | Sequence[str | Variant], n_layers: int) -> Layout:
    """The variant of each of `n_layers` layers.

    A string is a cycle that is repeated to the layer count, which it must divide; a sequence names every layer, and
    so does a file, a string that ends in `.json`.
    Raises `ValueError` with the accepted spelling.
    """
    if n_layers < 1:
        raise ValueError(f"a layout needs at least 1 layer, got {n_layers}")
    if isinstance(spec, str) and spec.strip().endswith(".json"):
        spec = read_layout(spec.strip())
    if isinstance(spec, str):
        cycle = _parse_cycle(spec, n_layers)
        if n_layers % len(cycle):
            raise ValueError(
                f"layout {spec!r} is a cycle of {len(cycle)} layers, which does not divide {n_layers}; "
                f"accepted lengths: {', '.join(str(d) for d in range(1, n_layers + 1) if n_layers % d == 0)}"
            )
        return cycle * (n_layers // len(cycle))
    layout = tuple(one if isinstance(one, Variant) else parse_variant(one) for one in spec)
    if len(layout) != n_layers:
        raise ValueError(f"a layout list names every layer: got {len(layout)} entries for {n_layers} layers")
    return layout


def parse_variant(text: str) -> Variant:
    """One variant from its spelling, `name` or `name(value, parameter=value)`."""
    call = _CALL.fullmatch(text.strip())
    if not call:
        raise ValueError(f"cannot read attention variant {text!r}; accepted: {accepted()}")
    name = call["name"].lower()
    if name not in VARIANTS:
        raise ValueError(f"no attention variant {name!r}{_nearest(name, VARIANTS)}; accepted: {accepted()}")
    return _build(VARIANTS[name], text.strip(), [part for part in (call["arguments"] or "").split(",") if part.strip()])


def format_layout(layout: Layout) -> str:
    """The shortest spelling that parses back to `layout`: `5*swa(1024)+full`."""
    cycle = layout[: period(layout)]
    runs = [(variant, len(list(group))) for variant, group in itertools.groupby(cycle)]
    return "+".join(f"{count}*{variant}" if count > 1 else str(variant) for variant, count in runs)


def period(layers: Sequence[object]) -> int:
    """Length of the shortest cycle that, repeated, gives `layers`."""
    n = len(layers)
    return next(p for p in range(1, n + 1) if n % p == 0 and all(layers[i] == layers[i % p] for i in range(n)))


def accepted() -> str:
    """The spellings that a layout may use, for messages and help."""
    return ", ".join(signature(variant) for variant in VARIANTS.values())


def signature(variant: type[Variant]) -> str:
    """`swa(window, sinks=0)`."""
    words = [
        f.name if f.default is dataclasses.MISSING else f"{f.name}={spelling(f.default)}"
        for f in dataclasses.fields(variant)
    ]
    return f"{variant.name}({', '.join(words)})" if words else variant.name


def _parse_cycle(spec: str, n_layers: int) -> Layout:
    layout: list[Variant] = []
    for part in _PLUS.split(spec):
        term = _TERM.fullmatch(part.strip())
        if not term:
            raise ValueError(
                f"cannot read {part.strip()!r} in layout {spec!r}; write terms like 'full' or '5*swa(1024)' joined by "
                f"'+', of {accepted()}"
            )
        count = int(term["count"] or 1)
        if not 1 <= count <= n_layers:
            raise ValueError(f"{part.strip()!r} in layout {spec!r} repeats a variant {count} times; 1 to {n_layers}")
        layout += [parse_variant(term["call"])] * count
    return tuple(layout)


def _build(variant: type[Variant], text: str, arguments: list[str]) -> Variant:
    kinds = {f.name: str(f.type) for f in dataclasses.fields(variant)}
    fields = list(kinds)
    values: dict[str, Any] = {}
    for place, argument in enumerate(arguments):
        key, _, value = argument.rpartition("=")
        if key:
            key = key.strip()
        elif place < len(fields):
            key = fields[place]
        if key not in fields or key in values:
            fault = "twice" if key in values else f"which it does not have{_nearest(key, fields)}"
            raise ValueError(f"{text!r} gives {key or argument.strip()!r} {fault}; accepted: {signature(variant)}")
        try:
            values[key] = read_parameter(kinds[key], value)
        except ValueError as error:
            raise ValueError(f"{text!r}: {key} {error}; accepted: {signature(variant)}") from error
    missing = [f.name for f in dataclasses.fields(variant) if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise ValueError(f"{text!r} lacks {missing[0]}; accepted: {signature(variant)}")
    return variant(**values)


def _nearest(word: str, known: object) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
