"""PTX as a list of instructions: kinds, branches, and the products that an instruction of the tensor cores does.

PTX is what the last compiler reads, not what runs: it counts what was asked for, before registers are given out and
instructions scheduled (NVIDIA, "Parallel Thread Execution ISA").
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Final

from eval.lowering.machine_code import Instruction

_ENTRY: Final = re.compile(r"^\.visible \.entry (\w+)\(", re.MULTILINE)
_LABEL: Final = re.compile(r"^(\$\w+):")
_OPCODE: Final = re.compile(r"^(?:@!?%\w+\s+)?([a-z][\w.:]*)\s*([^;]*);?")
_SHAPE: Final = re.compile(r"\.m(\d+)n(\d+)k(\d+)\b")
_WARPS: Final = {"wgmma": 4, "mma": 1}
_WAITS: Final = ("bar.", "barrier.", "wgmma.", "cp.async.wait", "cp.async.commit", "fence", "membar", "mbarrier")
_MEMORY: Final = ("ld.", "st.", "cp.", "atom.", "red.", "prefetch")


def entries(text: str) -> dict[str, str]:
    """The text of each kernel in a PTX file, the file's head before each."""
    found = list(_ENTRY.finditer(text))
    starts = [one.start() for one in found]
    bodies = [text[start:end] for start, end in itertools.pairwise([*starts, len(text)])]
    return {one[1]: text[: starts[0]] + body for one, body in zip(found, bodies, strict=True)}


def instructions_of(text: str) -> list[Instruction]:
    """The instructions of one kernel; an address is a line's number, a matrix instruction's products are per warp."""
    lines = [line.strip() for line in text.splitlines()]
    labels = {found[1]: number for number, line in enumerate(lines) if (found := _LABEL.match(line))}
    return list(_instructions(lines, labels))


def _instructions(lines: list[str], labels: dict[str, int]) -> Iterator[Instruction]:
    for number, line in enumerate(lines):
        found = _OPCODE.match(line)
        if not found or not line.rstrip("}").rstrip().endswith(";"):
            continue
        opcode = found[1]
        if opcode.split(".")[0] == "bra":
            yield Instruction(number, "branch", target=labels.get(found[2].strip()))
        else:
            kind, bits, macs = _kind(opcode)
            yield Instruction(number, kind, bits, None, macs)


def _kind(opcode: str) -> tuple[str, int, int]:
    """Kind, bits of a load from shared memory per lane, and multiply-accumulates per warp."""
    family, shape = opcode.split(".")[0], _SHAPE.search(opcode)
    if family in _WARPS and shape and ".mma_async" in opcode + ".mma_async" * (family == "mma"):
        return "matrix", 0, math.prod(map(int, shape.groups())) // _WARPS[family]
    if matrices := re.match(r"ldmatrix\b.*?\.x(\d)", opcode):
        return "lds_load", 32 * int(matrices[1]), 0
    if opcode.startswith("ld.shared"):
        width, count = re.search(r"[a-z](\d+)$", opcode), re.search(r"\.v(\d)", opcode)
        return "lds_load", (int(width[1]) if width else 0) * (int(count[1]) if count else 1), 0
    if opcode.startswith(("st.shared", "stmatrix")):
        return "lds_store", 0, 0
    if opcode.startswith(_WAITS):
        return "wait", 0, 0
    return ("memory" if opcode.startswith(_MEMORY) else "vector"), 0, 0
