"""How long a sweep will take, about: its FLOPs at the rate of a matrix product, and its programs' compilation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp

from eval.plan import Cell
from eval.timing import compile_program

RUNS: Final[Mapping[str, float]] = MappingProxyType(
    {"linear": 2.5, "prefill": 3.0, "attention": 15.0, "apart": 6.0, "quality": 1.8}
)
"""By the kind of cell: warm-ups and samples, over the share of a lone product's rate that such programs reach."""

COMPILE_S: Final[Mapping[str, float]] = MappingProxyType(
    {"linear": 0.4, "prefill": 1.6, "attention": 1.1, "apart": 0.8, "quality": 4.0}
)
"""Of one program.  Both as SmolLM2-135M took on two cores: of another machine they are a guess, printed as one."""

REPORT_S: Final = 10.0
"""Tables, pictures and the page."""


def matmul_flops_per_s(dtype: Any) -> float:
    """What the device does at its best, just now."""
    n = 1536 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (n, n), dtype)
    program = compile_program(jnp.dot, a, a)
    program.run_ms()
    return 2 * n**3 / (1e-3 * min(program.run_ms() for _ in range(3)))


def sweep_s(cells: Iterable[Cell], flops_per_s: float) -> float:
    """Seconds that cells take, without the report."""
    return sum(
        RUNS[cell.kind] * cell.work_flops / flops_per_s + COMPILE_S[cell.kind] * cell.programs * len(cell.names)
        for cell in cells
    )


def in_words(cells: Iterable[Cell], dtype: Any, *, extra_s: float = 0.0) -> str:
    """`about 7.6 min at the 216 GFLOP/s of a matrix product just now`; `nothing is missing` of no cells."""
    cells = list(cells)
    if not cells:
        return "nothing is missing"
    rate = matmul_flops_per_s(dtype)
    minutes = (sweep_s(cells, rate) + extra_s) / 60
    return f"about {max(minutes, 0.1):.1f} min at the {rate / 1e9:.0f} GFLOP/s of a matrix product just now"
