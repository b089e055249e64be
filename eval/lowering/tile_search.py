"""Which tiles to try: a sweep, and the way down from a tile that does not fit to one that does."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable

from eval.lowering.kernel_programs import AttentionKernel

ROWS, KEYS, WARPS, STAGES = (32, 64, 128), (32, 64, 128), (4, 8), (1, 2)


def every_tile(like: AttentionKernel) -> list[AttentionKernel]:
    """All tiles of the sweep, for the same shapes; two warps share the 16 rows of a matrix instruction at most."""
    return [
        dataclasses.replace(like, rows=rows, keys=keys, warps=warps, stages=stages)
        for rows, keys, warps, stages in itertools.product(ROWS, KEYS, WARPS, STAGES)
        if rows >= 8 * warps
    ]


def smaller(program: AttentionKernel) -> Iterable[AttentionKernel]:
    """Ever smaller tiles: one stage less, then half the keys, then half the rows with half the warps."""
    while True:
        if program.stages > 1:
            program = dataclasses.replace(program, stages=program.stages - 1)
        elif program.keys > min(KEYS):
            program = dataclasses.replace(program, keys=program.keys // 2)
        elif program.rows > 16:
            program = dataclasses.replace(program, rows=program.rows // 2, warps=max(program.warps // 2, 2))
        else:
            return
        yield program


def suggestion(program: AttentionKernel, passes: Callable[[AttentionKernel], bool]) -> AttentionKernel | None:
    """The first smaller tile that passes, None if none does."""
    return next((one for one in smaller(program) if passes(one)), None)


def parse_tile(word: str, like: AttentionKernel) -> AttentionKernel:
    """`128x64,8,2`: rows x keys, warps, stages; or a `ValueError` that shows the form."""
    sizes = word.replace("x", ",").split(",")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) for size in sizes):
        raise ValueError(f"a tile is rows x keys, warps, stages, such as 128x64,8,1; got {word!r}")
    rows, keys, warps, stages = map(int, sizes)
    if any(size & (size - 1) for size in (rows, keys, warps)):
        raise ValueError(f"rows, keys and warps of a tile are powers of two; got {word!r}")
    return dataclasses.replace(like, rows=rows, keys=keys, warps=warps, stages=stages)
