"""Optimised HLO text as data: computations of instructions, as far as counting products needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\w+\[([\d,]*)\]")


@dataclass(frozen=True)
class Instruction:
    """One instruction; `rest` is everything after the opening parenthesis: operands, then attributes."""

    name: str
    shape: str
    opcode: str
    rest: str

    @cached_property
    def dims(self) -> tuple[int, ...]:
        """Sizes of the result, of its first array where it is a tuple."""
        return array_dims(self.shape)

    @cached_property
    def operands(self) -> tuple[str, ...]:
        depth, end = 1, 0
        for end, character in enumerate(self.rest):  # noqa: B007
            depth += (character == "(") - (character == ")")
            if not depth:
                break
        return tuple(re.findall(r"%([\w.\-]+)", self.rest[:end]))

    @property
    def op_name(self) -> str:
        """The path of scopes and calls that it came from, empty where the compiler kept none."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""

    def named(self, attribute: str) -> list[str]:
        """Computations that an attribute names: one, or several in braces."""
        found = re.search(attribute + r"=(?:\{([^}]*)\}|%?([\w.\-]+))", self.rest)
        return re.findall(r"[\w.\-]+", found[1] or found[2]) if found else []

    def sizes(self, attribute: str) -> tuple[int, ...]:
        """Numbers in braces, as `lhs_contracting_dims={1}`."""
        found = re.search(attribute + r"=\{([\d,]*)\}", self.rest)
        return tuple(map(int, found[1].split(","))) if found and found[1] else ()

    @property
    def trip_count(self) -> int | None:
        """How often a while loop is known to turn."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.rest)
        return int(found[1]) if found else None


@dataclass(frozen=True)
class Module:
    """The computations of a program by name, each its instructions by name."""

    computations: Mapping[str, Mapping[str, Instruction]]
    entry: str


def array_dims(shape: str) -> tuple[int, ...]:
    found = _ARRAY.search(shape)
    if not found:
        raise ValueError(f"no array shape in {shape!r}")
    return tuple(int(size) for size in found[1].split(",") if size)


def parse_hlo(text: str) -> Module:
    """The module that `compiled.as_text()` prints."""
    computations: dict[str, dict[str, Instruction]] = {}
    current: dict[str, Instruction] = {}
    entry = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations[header[2]] = {}
            entry = header[2] if header[1] else entry
        elif found := _INSTRUCTION.match(re.sub(r"/\*.*?\*/", "", line)):
            current[found[1]] = Instruction(*found.groups())
    if not entry:
        raise ValueError("no ENTRY computation: this is not the text of a compiled program")
    return Module(computations, entry)
