"""How long a sweep will take, about: its FLOPs at the rate of a matrix product, and its programs' compilation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp

from eval.measure.plan import Cell
from eval.measure.timing import Budget, compile_program

RUNS: Final[Mapping[str, float]] = MappingProxyType(
    {"linear": 1.25, "prefill": 1.5, "attention": 15.0, "apart": 6.0, "quality": 1.8}
)
"""By the kind of cell: warm-ups and samples, over the share of a lone product's rate that such programs reach; of whole
prefills and linear layers one run, and one more of the first of a cell."""

ONCE: Final = frozenset({"linear", "prefill"})
"""Kinds of which one run is enough where it is long: those for which a sweep's time matters."""

COMPILE_S: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "cpu": {"linear": 0.4, "prefill": 1.6, "attention": 1.1, "apart": 0.8, "quality": 4.0},
        "gpu": {"linear": 4.0, "prefill": 4.5, "attention": 6.0, "apart": 7.0, "quality": 10.0},
    }
)
"""Of one program, by platform: as SmolLM2-135M took on two cores, and Qwen3-30B-A3B on an H100, whose kernels are tuned
and run once more to tell what they visit.  Of another machine these are a guess, printed as one."""

REPORT_S: Final = 10.0
"""Tables, pictures and the page."""


def matmul_flops_per_s(dtype: Any) -> float:
    """What the device does at its best, just now."""
    n = 1536 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (n, n), dtype)
    program = compile_program(jnp.dot, a, a)
    program.run_ms()
    return 2 * n**3 / (1e-3 * min(program.run_ms() for _ in range(3)))


def sweep_s(cells: Iterable[Cell], flops_per_s: float, budget: Budget) -> float:
    """Seconds that cells take here, without the report; each but those of quality the budget's seconds at least.

    On a calm machine, where nothing is sampled again, and with the usual number of samples: of more it takes longer.
    """
    compile_s = COMPILE_S["gpu" if jax.default_backend() == "gpu" else "cpu"]
    return sum(
        compile_s[cell.kind] * cell.programs * len(cell.layouts)
        + max(RUNS[cell.kind] * _flops(cell) / flops_per_s, budget.seconds if cell.kind != "quality" else 0.0)
        for cell in cells
    )


def _flops(cell: Cell) -> int:
    """Of one run of each program, and of one more of the reference where one is enough of the others."""
    return cell.work_flops + (next(iter(cell.flops.values())) if cell.kind in ONCE else 0)


def in_words(cells: Iterable[Cell], dtype: Any, budget: Budget, *, extra_s: float = 0.0) -> str:
    """`about 7.6 min at the 216 GFLOP/s of a matrix product just now`; `nothing is missing` of no cells."""
    cells = list(cells)
    if not cells:
        return "nothing is missing"
    rate = matmul_flops_per_s(dtype)
    minutes = (sweep_s(cells, rate, budget) + extra_s) / 60
    return f"about {max(minutes, 0.1):.1f} min at the {rate / 1e9:.0f} GFLOP/s of a matrix product just now"
