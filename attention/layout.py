"""Layouts: which variant each layer has, written as people say it.

    full                        every layer
    swa(1024)                   every layer
    5*swa(1024)+full            five local layers, then a global one, repeated to the layer count and cut there
    swa(4096, sinks=4)+full     arguments by position or by name
    routed(256|2048|full)       several spans in one argument
    ["full", "swa(128)", ...]   a list: one entry per layer
    path/to/layout.json         a file: see `attention.layout_file`

`make` gives one variant from Python values.  A layout is a tuple of variants, one per layer: hashable, comparable, and
usable as a static argument.
"""

from __future__ import annotations

import itertools
import re
import reprlib
from collections.abc import Sequence
from typing import Any

from attention.call import build, signature
from attention.checks import of_kind, whole
from attention.cut import one_line
from attention.layout_file import read_layout
from attention.mixer import Mixer
from attention.parameters import Part, spelling
from attention.unknown import did_you_mean
from attention.variants import VARIANTS

Layout = tuple[Mixer, ...]

LayoutSpec = str | Mixer | Sequence[str | Mixer]
"""What `parse_layout` reads."""

_TERM = re.compile(r"(?:(?P<count>\d+)\s*\*\s*)?(?P<call>[^*]+)")
_PLUS = re.compile(r"\+(?![^()]*\))")  # outside parentheses
_CALL = re.compile(r"(?P<name>[a-z_]\w*)\s*(?:\((?P<arguments>[^()]*)\))?", re.IGNORECASE)


def make(name: str, **parameters: Any) -> Mixer:
    """The registered variant of that name, `attention.variants.VARIANTS`.

    Args:
        name: `swa`; without parameters also a whole spelling, `swa(1024, sinks=4)`.
        parameters: spans, windows, sinks and budgets in keys, chunks in tokens; as Python values or as layouts spell
            them (`spans=(256, "full")`, `spans="256|full"`, `policy=Knorm()`, `policy="knorm"`).  None leaves one at
            its default.

    Raises:
        ValueError: in one line, the name or parameter that there is not, with the nearest one and what is accepted.

    Examples:
        >>> import attention
        >>> attention.make("swa", window=1024)
        SlidingWindow(window=1024, sinks=0)
        >>> str(attention.make("spans", rules=("256", "64+0.25N", "full"), sinks=4))
        'spans(256|64+0.25N|full, sinks=4)'
        >>> attention.make("swa", windw=1024)
        Traceback (most recent call last):
            ...
        ValueError: 'swa(windw=1024)' gives 'windw' which it does not have (did you mean 'window'?); accepted: ...
    """
    of_kind("a variant's name, a text,", name, str)
    if not parameters:
        return parse_variant(name)
    given = {key: _written(value) for key, value in parameters.items() if value is not None}
    call = f"{name}({', '.join(f'{key}={spelling(value)}' for key, value in given.items())})"
    return build(_registered(name), call, given.items())


def parse_layout(spec: LayoutSpec, n_layers: int) -> Layout:
    """The variant of each of `n_layers` layers.

    A string is a cycle that is repeated, and cut where the layers end (`describe_cut` says how); a single variant is
    every layer's; a sequence names every layer, and so does a file, a string that ends in `.json`.

    Raises:
        ValueError: in one line, with the accepted spelling.

    Examples:
        >>> from attention import parse_layout
        >>> [str(variant) for variant in parse_layout("2*swa(1024)+full", 5)]
        ['swa(1024)', 'swa(1024)', 'full', 'swa(1024)', 'swa(1024)']
    """
    if n_layers == 0:
        raise ValueError(f"a layout needs at least 1 layer, got {n_layers}")
    whole("layers", n_layers)
    if isinstance(spec, Mixer):
        return (spec,) * n_layers
    if isinstance(spec, str) and spec.strip().endswith(".json"):
        file = spec.strip()
        try:
            return parse_layout(read_layout(file), n_layers)
        except ValueError as error:
            said = str(error) if file in str(error) else f"layout file {file}: {error}"
            raise ValueError(one_line(said)) from error
    if isinstance(spec, str):
        cycle = [variant for variant, count in _terms(spec) for _ in range(min(count, n_layers))]
        return tuple(itertools.islice(itertools.cycle(cycle), n_layers))
    entries = spec if isinstance(spec, Sequence) else [spec]
    for one in entries:
        if not isinstance(one, str | Mixer):
            raise ValueError(f"a layout is text, a variant or a list of them, got {reprlib.repr(one)}")
    layout = tuple(one if isinstance(one, Mixer) else parse_variant(one) for one in spec)
    if len(layout) != n_layers:
        raise ValueError(f"a layout list names every layer: got {len(layout)} entries for {n_layers} layers")
    return layout


def mixers_named(spec: LayoutSpec) -> Layout:
    """The variants that a layout names, for any number of layers.

    Raises:
        ValueError: as `parse_layout`.

    Examples:
        >>> [str(variant) for variant in mixers_named("3*delta+full")]
        ['delta', 'full']
    """
    if isinstance(spec, Mixer):
        return (spec,)
    if isinstance(spec, str) and not spec.strip().endswith(".json"):
        return tuple(variant for variant, _ in _terms(spec))
    entries = read_layout(spec.strip()) if isinstance(spec, str) else spec
    return parse_layout(entries, max(1, len(entries)) if isinstance(entries, Sequence) else 1)


def parse_variant(text: str) -> Mixer:
    """One variant from its spelling, `name` or `name(value, parameter=value)`."""
    call = _CALL.fullmatch(text.strip())
    if not call:
        raise ValueError(f"cannot read attention variant {text!r}; accepted: {accepted()}")
    arguments = [part.rpartition("=") for part in (call["arguments"] or "").split(",") if part.strip()]
    return build(_registered(call["name"]), text.strip(), [(key.strip(), value) for key, _, value in arguments])


def _registered(name: str) -> type[Mixer]:
    known = name.strip().lower()
    if known not in VARIANTS:
        raise ValueError(f"no attention variant {known!r}{did_you_mean(known, VARIANTS)}; accepted: {accepted()}")
    return VARIANTS[known]


def format_layout(layout: Layout) -> str:
    """The shortest spelling that parses back to `layout`: `5*swa(1024)+full`, whether or not its cycle is cut."""
    runs = [(variant, len(list(group))) for variant, group in itertools.groupby(layout[: period(layout)])]
    return "+".join(f"{count}*{variant}" if count > 1 else str(variant) for variant, count in runs)


def period(layers: Sequence[object]) -> int:
    """Length of the shortest cycle that, repeated and cut where they end, gives `layers`."""
    n = len(layers)
    return next(p for p in range(1, n + 1) if layers[p:] == layers[: n - p])


def describe_cut(spec: str, n_layers: int) -> str:
    """How a layout's cycle meets the layer count, in a word; nothing where whole cycles fill it.

    Examples:
        >>> describe_cut("5*swa(1024)+full", 62)
        '62 layers: 10 cycles of 6 and 2 layers more'
        >>> describe_cut("5*swa(1024)+full", 5)
        '5 layers: the first 5 of a cycle of 6'
    """
    if spec.strip().endswith(".json"):
        return ""  # names every layer
    size = sum(count for _, count in _terms(spec))
    cycles, more = divmod(n_layers, size)
    if not cycles:
        return f"{n_layers} layers: the first {n_layers} of a cycle of {size}"
    return (
        f"{n_layers} layers: {cycles} cycle{'s' * (cycles > 1)} of {size} and {more} layer{'s' * (more > 1)} more"
        if more
        else ""
    )


def accepted() -> str:
    """The spellings that a layout may use, for messages and help."""
    return ", ".join(signature(variant) for variant in VARIANTS.values())


def _terms(spec: str) -> list[tuple[Mixer, int]]:
    """The terms of a cycle: each variant, and for how many layers in a row."""
    terms: list[tuple[Mixer, int]] = []
    for part in _PLUS.split(spec):
        term = _TERM.fullmatch(part.strip())
        if not term:
            raise ValueError(
                f"cannot read {part.strip()!r} in layout {spec!r}; write terms like 'full' or '5*swa(1024)' joined by "
                f"'+', of {accepted()}"
            )
        count = int(term["count"] or 1)
        if count < 1:
            raise ValueError(f"{part.strip()!r} in layout {spec!r} repeats a variant {count} times; at least 1")
        terms.append((parse_variant(term["call"]), count))
    return terms


def _written(value: Any) -> str | Part:
    """A Python value as a layout would spell it."""
    return value if isinstance(value, Part) else spelling(tuple(value) if isinstance(value, list) else value)
