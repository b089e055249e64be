"""What a compiled kernel says of the time that a prediction gives it (`eval.cost.prediction`).

WMMA and vector instructions of a wave do not overlap on gfx1201, so that a loop of m matrix and v vector instructions
reaches at most

    e_code = c·m / (c·m + v)        c cycles of a SIMD per matrix instruction

of the peak: softmax work that cannot be hidden.

Occupancy is said beside the figure and is not in it.  While one wave of a SIMD waits for a load, the others issue:
with w waves of I = c·m + v cycles a turn of the loop, latency of up to (w - 1)·I cycles a turn is hidden (less where
waves meet at a barrier), and a latency of L beyond that would leave e = w·c·m / (I + L).  No latency of this card's
memories was found in a source to rely on, and none was measured, so no L is put in.
"""

from __future__ import annotations

from collections.abc import Iterable

from eval.cost.prediction import Occupancy
from eval.lowering.kernels import Kernel
from eval.lowering.loops import Code
from eval.lowering.target import Target


def heaviest(kernels: Iterable[Kernel]) -> dict[str, tuple[Kernel, Code]]:
    """By component its kernel with the most matrix work in the inner loop, and that loop, where there is one."""
    found: dict[str, tuple[Kernel, Code]] = {}
    for kernel in kernels:
        loop, known = kernel.loop, found.get(kernel.component)
        if loop and loop.matrix and (known is None or loop.matrix > known[1].matrix):
            found[kernel.component] = kernel, loop
    return found


def code_bounds(kernels: Iterable[Kernel], target: Target) -> dict[str, float]:
    """e_code by component, of its heaviest kernel."""
    return {
        name: target.matrix_cycles * loop.matrix / _issue_cycles(loop, target)
        for name, (_, loop) in heaviest(kernels).items()
    }


def occupancies(kernels: Iterable[Kernel], target: Target) -> dict[str, Occupancy]:
    """By component, of its heaviest kernel."""
    return {
        name: Occupancy(kernel.waves, _issue_cycles(loop, target)) for name, (kernel, loop) in heaviest(kernels).items()
    }


def _issue_cycles(loop: Code, target: Target) -> int:
    return target.matrix_cycles * loop.matrix + loop.kinds.get("vector", 0)
