"""Records from JSON and back: every field is checked, and lines of older schemas are brought up to the newest."""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from attention.unknown import unknown
from eval.measure.records.bounds import check_number
from eval.measure.records.schema import NO_IMPL, SCHEMA, Record, RunInfo
from refmodel.words import shown

T = TypeVar("T")


def to_json(record: Record) -> dict[str, Any]:
    """What `from_json` reads; what is not known is left out."""
    fields = _told(record)
    del fields["run"]
    return {"schema": SCHEMA, **_told(record.run), **fields}


def from_json(line: Mapping[str, Any]) -> Record:
    """The record of one line.  Raises `ValueError` that names the field and what is wanted there."""
    schema = line.get("schema", 0)
    if type(schema) is not int or schema not in range(SCHEMA + 1):
        raise ValueError(f"schema must be at most {SCHEMA}, which this version reads, got {reprlib.repr(schema)}")
    for migrate in MIGRATIONS[schema:]:
        line = migrate(line)
    fields = {name: value for name, value in line.items() if name != "schema"}
    own = {f.name for f in dataclasses.fields(RunInfo)}
    run = read_fields(RunInfo, {name: fields.pop(name) for name in own & set(fields)})
    record = read_fields(Record, fields, run=run)
    _check(record)
    return record


def _check(record: Record) -> None:
    """Raises `ValueError` for what no measurement has, beside numbers out of `eval.measure.records.bounds`."""
    if not record.layout:
        raise ValueError("layout must name one, got ''")
    parts = {f"parts.{shown(name)}": timing for name, timing in record.parts.items()}
    for name, timing in {"timing": record.timing, **parts}.items():
        if timing is not None and not timing.samples_ms:
            raise ValueError(f"{name}.samples_ms must be one time or more, got none")
    if record.kind == "attention" and record.flops:
        for count in ("useful", "executed"):
            if "attention" not in getattr(record.flops, count):
                raise ValueError(f"no flops.{count}.attention; a record of kind attention has it")


def read_fields(kind: type[T], found: Any, prefix: str = "", **given: Any) -> T:
    """The dataclass `kind` from a JSON object, whatever of it is not `given`; every field is checked."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{prefix.rstrip('.') or 'a record'} must be a JSON object, got {reprlib.repr(found)}")
    hints = _hints_of(typing.cast(type, kind))
    # That T is a dataclass cannot be said in its bound.
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name not in given}  # type: ignore[arg-type]
    for name in found:
        if name not in fields:
            raise ValueError(unknown(f"{prefix}field", name, fields))
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in found:
            raise ValueError(f"no {prefix}{name}; a record of a comparison has one")
    return kind(**given, **{name: read_value(hints[name], value, prefix + name) for name, value in found.items()})


@functools.cache
def _hints_of(kind: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields, whose texts are read once: most of the time that reading a record took."""
    return types.MappingProxyType(typing.get_type_hints(kind))


def read_value(hint: Any, value: Any, name: str) -> Any:
    """`value` as a field annotated with `hint` holds it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # X | None
        (inner,) = (one for one in arguments if one is not types.NoneType)
        return None if value is None else read_value(inner, value, name)
    if origin is typing.Literal and isinstance(value, str) and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(read_value(arguments[0], one, f"{name}[{place}]") for place, one in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {read_value(str, key, f"a name in {name}"): read_value(arguments[1], one, f"{name}.{shown(key)}")
                for key, one in value.items()}  # fmt: skip
    if dataclasses.is_dataclass(hint):
        return read_fields(typing.cast(type, hint), value, f"{name}.")
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        check_number(name, value)
        return float(value)
    if origin is None and isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        if hint is int:
            check_number(name, value)
        if hint is str and not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise ValueError(f"{name} must be text that can be written, got {reprlib.repr(value)}")
        return value
    raise ValueError(f"{name} must be {_in_words(hint)}, got {reprlib.repr(value)}")


def _in_words(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(typing.get_args(hint))}"
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list"}
    return words.get(typing.get_origin(hint) or hint, "a JSON object")


def _told(one: RunInfo | Record) -> dict[str, Any]:
    """The fields that are not at their defaults."""
    fields = {f.name: f for f in dataclasses.fields(one)}
    return {name: _plain(value) for name, value in vars(one).items() if value != _default(fields[name])}


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _plain(value: Any) -> Any:
    """Dataclasses as JSON objects, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {name: _plain(one) for name, one in vars(value).items()}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _from_unnumbered(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Before schemas had numbers: a variant was named twice, a text's hash stood outside it, `asked` could lack."""
    fields = {name: value for name, value in line.items() if name not in ("variant", "text_sha256")}
    if "text_sha256" in line:
        fields.setdefault("text", {"name": "unknown", "sha256": line["text_sha256"]})
    fields.setdefault("asked", line.get("impl", NO_IMPL))
    return fields | {"schema": 1}


def _without_digests(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Before schema 2 nothing but names told what was measured: a resumed run measures such cells again.

    A layer's time, a difference of two, was not kept from falling a little below 0.
    """
    layers = line.get("layers")
    clipped = {"layers": [_not_below_0(one, line.get("ends_ms")) for one in layers]} if isinstance(layers, list) else {}
    return {**line, **clipped, "schema": 2}


def _not_below_0(layer: Any, ends_ms: Any) -> Any:
    """What is below 0 by less than the time that was taken off is noise; any other value is left to be refused."""
    ms = layer.get("ms") if isinstance(layer, Mapping) else None
    noise = isinstance(ms, int | float) and isinstance(ends_ms, int | float) and -ends_ms <= ms < 0
    return {**layer, "ms": 0.0} if noise else layer


MIGRATIONS: Final[tuple[Callable[[Mapping[str, Any]], Mapping[str, Any]], ...]] = (_from_unnumbered, _without_digests)
"""From each schema to the next."""
