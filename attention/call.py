"""A variant from its call: `name(value, parameter=value)`, its own parameters and those of its parts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from attention.block_rules import BLOCK_RULES, BlockRule
from attention.eviction.policy import Policy
from attention.mixer import Mixer
from attention.parameters import Part, parameter_types, read_parameter, spelling
from attention.registry import Registry
from attention.routers import ROUTERS, Router
from attention.unknown import did_you_mean


def names_of(kind: Any) -> Registry[Any] | None:
    """Where the name of a parameter of such a type is looked up; None of a type whose values have no names."""
    if kind is Policy:
        from attention.eviction.registry import POLICIES  # here, for most layouts evict nothing

        return POLICIES
    open_to: Mapping[Any, Registry[Any]] = {Router: ROUTERS, BlockRule: BLOCK_RULES}
    return open_to.get(kind)


def signature(variant: type[Mixer] | type[Part], parts: Mapping[str, type[Part]] = MappingProxyType({})) -> str:
    """`swa(window, sinks=0)`; where its parts are known, with what they have of their own."""
    words = []
    for f in dataclasses.fields(variant):
        default = parts[f.name].name if f.name in parts else spelling(f.default)
        words.append(f.name if f.default is dataclasses.MISSING else f"{f.name}={default}")
    for part in parts.values():
        of_part = dataclasses.fields(part)
        words += [g.name if g.default is dataclasses.MISSING else f"{g.name}={spelling(g.default)}" for g in of_part]
    return f"{variant.name}({', '.join(words)})" if words else variant.name


def build(variant: type[Mixer], text: str, arguments: Iterable[tuple[str, str | Part]]) -> Mixer:
    """The variant with (name, value as text) for parameters, its own and its parts'; without a name by their place."""
    own = parameter_types(variant)
    given: dict[str, str | Part] = {}
    for place, (key, value) in enumerate(arguments):
        key = key or (list(own)[place] if place < len(own) else "")
        if not key or key in given:
            fault = "twice" if key else "which it does not have"
            raise ValueError(f"{text!r} gives {key or str(value).strip()!r} {fault}; accepted: {signature(variant)}")
        given[key] = value
    made = {key: value for key, value in given.items() if isinstance(value, Part)}
    parts = {key: part for key, part in _parts(variant, own, given).items() if key not in made}
    spelt = signature(variant, parts)

    def values(kinds: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _read(text, key, kinds[key], given[key], spelt) for key in given if key in kinds}

    kinds = {key: kind for key, kind in own.items() if key not in (*parts, *made)}
    of_parts = {key: parameter_types(part) for key, part in parts.items()}
    known = {*own, *itertools.chain(*of_parts.values())}
    for key in given:
        if key not in known:
            raise ValueError(
                f"{text!r} gives {key!r} which it does not have{did_you_mean(key, known)}; accepted: {spelt}"
            )
    kinds_made: tuple[type[Mixer] | type[Part], ...] = (variant, *parts.values())
    for kind in kinds_made:
        missing = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name not in given]
        if missing:
            raise ValueError(f"{text!r} lacks {missing[0]}; accepted: {spelt}")
    return variant(**values(kinds), **made, **{key: part(**values(of_parts[key])) for key, part in parts.items()})


def _parts(variant: type[Mixer], own: Mapping[str, Any], given: Mapping[str, str | Part]) -> dict[str, type[Part]]:
    """The kind of each part that is named or is the default: what its own parameters are."""
    defaults = {f.name: f.default for f in dataclasses.fields(variant)}
    found: dict[str, type[Part]] = {}
    for key, kind in own.items():
        names = names_of(kind)
        if names is None:
            continue
        value = given.get(key, defaults[key])
        if isinstance(value, str):
            found[key] = names.find(value.strip().lower())
        elif isinstance(value, Part):
            found[key] = type(value)
    return found


def _read(text: str, key: str, kind: Any, value: Any, accepted: str) -> Any:
    try:
        return read_parameter(kind, value)
    except ValueError as error:
        raise ValueError(f"{text!r}: {key} {error}; accepted: {accepted}") from error
