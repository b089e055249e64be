"""What a kernel's machine code does where it spends its time: in its innermost loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from eval.lowering.machine_code import Instruction


@dataclass(frozen=True)
class Code:
    """Instructions of a stretch of code by kind, its LDS loads by width in bits per lane, and the multiply-accumulates
    of its matrix instructions per wave."""

    instructions: int
    kinds: dict[str, int]
    lds_load_bits: dict[int, int]
    macs: int = 0

    @property
    def matrix(self) -> int:
        return self.kinds.get("matrix", 0)

    @property
    def matrix_share(self) -> float:
        """Of all instructions."""
        return self.matrix / self.instructions if self.instructions else 0.0

    @property
    def narrow_lds_loads(self) -> int:
        """LDS loads of 16 bits or less: a matrix operand gathered value by value."""
        return sum(count for bits, count in self.lds_load_bits.items() if bits <= 16)


def summarise(instructions: Sequence[Instruction]) -> Code:
    kinds = Counter(one.kind for one in instructions)
    widths = Counter(one.bits for one in instructions if one.kind == "lds_load")
    macs = sum(one.macs for one in instructions)
    return Code(len(instructions), dict(kinds), dict(sorted(widths.items())), macs)


def innermost_loops(instructions: Sequence[Instruction]) -> list[Code]:
    """The stretches from the target of a backward branch to that branch that hold no other such stretch.

    Branches back to one place are one loop.  Blocks that the compiler moved out of a loop's stretch are not seen.
    """
    ends: dict[int, int] = {}
    for one in instructions:
        if one.target is not None and one.target <= one.address:
            ends[one.target] = max(ends.get(one.target, 0), one.address)
    innermost = [
        (start, end) for start, end in sorted(ends.items())
        if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in ends.items())
    ]  # fmt: skip
    return [summarise([one for one in instructions if start <= one.address <= end]) for start, end in innermost]


def inner_loop(instructions: Sequence[Instruction]) -> Code | None:
    """The innermost loop with the most matrix work, the longest of several; None for straight code."""
    return max(
        innermost_loops(instructions), key=lambda code: (code.macs, code.matrix, code.instructions), default=None
    )
