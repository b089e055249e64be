"""Which tiles to try: a sweep, and the way down from a tile that does not fit to one that does."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from eval.lowering.kernel_programs import AttentionKernel, ExpertKernel, TiledKernel

FORMS: Final = MappingProxyType({
    AttentionKernel: ("rows", "keys", "warps", "stages"),
    ExpertKernel: ("rows", "columns", "depth", "warps", "stages"),
})  # fmt: skip
"""What a tile's numbers are: sides joined by x, then warps and stages."""

SWEEPS: Final[Mapping[tuple[type, str], Mapping[str, tuple[int, ...]]]] = MappingProxyType({
    (AttentionKernel, "gfx"): {"rows": (32, 64, 128), "keys": (32, 64, 128), "warps": (4, 8), "stages": (1, 2)},
    (ExpertKernel, "gfx"): {
        "rows": (64, 128), "columns": (64, 128), "depth": (32, 64), "warps": (4, 8), "stages": (1, 2)
    },
    (AttentionKernel, "sm_"): {"rows": (64, 128, 256), "keys": (64, 128), "warps": (4, 8), "stages": (2, 3)},
    (ExpertKernel, "sm_"): {
        "rows": (64, 128), "columns": (128, 256), "depth": (64,), "warps": (4, 8), "stages": (3, 4)
    },
})  # fmt: skip
"""The sizes of a sweep by kernel and maker of the target."""

LEAST: Final = MappingProxyType({"rows": 16, "keys": 32, "columns": 32, "depth": 32})


def every_tile(like: TiledKernel, target: str) -> list[TiledKernel]:
    """All tiles of the sweep for a target, for the same shapes; two warps share 16 rows at most."""
    sizes = SWEEPS[type(like), target[:3]]
    made = (with_tile(like, **dict(zip(sizes, values, strict=True))) for values in itertools.product(*sizes.values()))
    return [one for one in made if one.rows >= 8 * one.warps]


def with_tile(like: TiledKernel, **sizes: Any) -> TiledKernel:
    """The same shapes in another tile; few rows of an expert take no more than all of the tile's."""
    changed: TiledKernel = dataclasses.replace(like, **sizes)
    if isinstance(changed, ExpertKernel):
        changed = dataclasses.replace(changed, least_rows=min(changed.least_rows, changed.rows))
    return changed


def smaller(program: TiledKernel) -> Iterable[TiledKernel]:
    """Ever smaller tiles: one stage less, then half of the side that is looped over, then half of the others, the rows
    with half of the warps."""
    sides = ("keys",) if isinstance(program, AttentionKernel) else ("depth", "columns")
    while True:
        halved = next((side for side in sides if getattr(program, side) > LEAST[side]), None)
        if program.stages > 1:
            program = with_tile(program, stages=program.stages - 1)
        elif halved:
            program = with_tile(program, **{halved: getattr(program, halved) // 2})
        elif program.rows > LEAST["rows"]:
            program = with_tile(program, rows=program.rows // 2, warps=max(program.warps // 2, 2))
        else:
            return
        yield program


def suggestion(program: TiledKernel, passes: Callable[[TiledKernel], bool]) -> TiledKernel | None:
    """The first smaller tile that passes, None if none does."""
    return next((one for one in smaller(program) if passes(one)), None)


def is_tile_of(word: str, like: TiledKernel) -> bool:
    """Whether a word has as many sides as the tiles of a kernel."""
    return word.count("x") == len(FORMS[type(like)]) - 3


def parse_tile(word: str, like: TiledKernel) -> TiledKernel:
    """`128x64,8,2`: rows x keys, or rows x columns x depth, then warps and stages; else `ValueError`."""
    names, sizes = FORMS[type(like)], word.replace("x", ",").split(",")
    if len(sizes) != len(names) or not all(size.isdecimal() and int(size) for size in sizes):
        shown = "128x64,8,1" if isinstance(like, AttentionKernel) else "128x128x32,8,1"
        raise ValueError(f"a tile is {' x '.join(names[:-2])}, warps, stages, such as {shown}; got {word!r}")
    values = dict(zip(names, map(int, sizes), strict=True))
    if any(values[name] & (values[name] - 1) for name in names if name != "stages"):
        raise ValueError(f"{', '.join(names[:-2])} and warps of a tile are powers of two; got {word!r}")
    return with_tile(like, **values)
