"""What a record was measured of, as digests: names and spellings are no proof, for two checkpoints may share them.

Two records of one cell are of the same thing iff their `identity_of` is equal.  What a figure does not depend on is
left out: one layer's attention alone (kind `attention`) runs on drawn operands, so that neither weights nor text are in
its identity.  They are in that of whole prefills, for weights and text choose the experts and the routes of tokens.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from attention.layout import Layout
from eval.measure.records.described import described
from eval.measure.records.schema import Record, RunInfo
from refmodel import words
from refmodel.specification import ModelConfig

DIGITS: Final = 32
"""Of a digest in hex."""

SOURCES: Final = ("attention", "refmodel", "eval/cost", "eval/measure", "eval/quality")
"""Folders whose Python a figure may depend on."""

WHERE: Final = ("device_kind", "cpu", "cores", "jax", "jaxlib", "xla_flags", "git_commit")
"""Fields of the environment that change a figure, or the code that made it."""


def run_identity(run: RunInfo) -> dict[str, str | int | None]:
    """What all figures of a run depend on."""
    own = {name: getattr(run, name) for name in ("model", "weights", "device", "dtype", "batch")}
    digests = {name: getattr(run, f"{name}_digest") for name in ("config", "params", "code")}
    return {**own, **{name: getattr(run.environment, name) for name in WHERE}, **digests}


def identity_of(record: Record) -> dict[str, str | int | None]:
    """What a record's figures depend on beside its kind, its layout's name and its length; None where untold."""
    found = {**run_identity(record.run), "layout": record.layout_digest, "tokens": record.tokens_digest}
    return {name: value for name, value in found.items() if not (record.kind == "attention" and name in _READ)}


_READ: Final = ("weights", "params", "tokens")
"""What the model reads."""


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In words, what two identities differ in, of what both have: `jax 0.11.2 instead of 0.10.2`."""
    return [
        f"{name} {shown(one[name])} instead of {shown(other[name])}"
        for name in one
        if name in other and one[name] != other[name]
    ]


def shown(value: Any) -> str:
    """In one line; a digest's or a commit's first digits tell it apart."""
    if value is None:
        return "untold"
    line = " ".join(str(value).split())
    return words.shown(re.sub(rf"^([0-9a-f]{{12}})[0-9a-f]{{{DIGITS - 12},}}$", r"\1", line))


def refuse_mixed(records: Iterable[Record], where: str = "the records") -> None:
    """Raises `ValueError` where records are of several devices, dtypes, weights or commits."""
    first: dict[str, tuple[Any, Record]] = {}
    for record in records:
        for name, value in identity_of(record).items():
            if name in ("model", "layout", "tokens"):
                continue
            known, of = first.setdefault(name, (value, record))
            if known != value:
                raise ValueError(
                    f"{where}: records of more than one {name}, {shown(known)} ({_cell(of)}) and {shown(value)} "
                    f"({_cell(record)}), which do not compare; mixed=True, or --mixed, takes them all the same"
                )


def _cell(record: Record) -> str:
    return f"{record.kind} of {shown(record.layout)}, {record.tokens:,} tokens"


def config_digest(config: ModelConfig) -> str:
    """Of a model's description, whatever it is called and whatever its attention."""
    outside = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in _NOT_SHAPE}
    return digest((outside, tuple(dataclasses.replace(layer, mixer=None) for layer in config.layers)))


_NOT_SHAPE: Final = ("name", "layers", "headline_params", "note", "family", "own_mixers")


def layout_digest(layout: Layout) -> str:
    """Of the variants with all their parameters, also those that their spelling leaves out."""
    return digest(layout)


def tokens_digest(tokens: Sequence[int]) -> str:
    """Of the token ids that are read."""
    return hashlib.blake2b(np.asarray(tokens, np.int64).tobytes()).hexdigest()[:DIGITS]


def code_digest() -> str:
    """Of the project's Python that figures depend on: also of changes that no commit holds yet."""
    root = Path(__file__).parents[3]
    found = hashlib.blake2b()
    for file in sorted(file for folder in SOURCES for file in (root / folder).rglob("*.py")):
        found.update(f"{file.relative_to(root)} ".encode() + hashlib.blake2b(file.read_bytes()).digest())
    return found.hexdigest()[:DIGITS]


def digest(value: Any) -> str:
    """Of a value, as `described` has it: equal in every process of one Python iff they are."""
    return hashlib.blake2b(described(value).encode()).hexdigest()[:DIGITS]
