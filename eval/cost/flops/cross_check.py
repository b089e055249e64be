"""A schedule of the real model counted three ways: closed form, traced, compiled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import jax

from eval.cost.flops.closed_form import COMPONENTS, steps_flops
from eval.cost.flops.compiled import count_hlo
from eval.cost.flops.model_program import component_of, schedule_program
from eval.cost.flops.traced import TracedFlops, count_jaxpr
from refmodel.schedule import Schedule
from refmodel.specification import ModelConfig

COMPILED_TOLERANCE: Final = 1e-3
"""XLA may rewrite a product into something else; more than this fraction of the total is a fault in a count."""

_FOR_TEXT: Final[dict[str, Any]] = {"xla_backend_optimization_level": 0, "xla_disable_hlo_passes": "constant_folding"}
"""Compile for the program's text: no effort on machine code that never runs, no folding of a prompt's positions."""

_QUICK_CODE: Final = {"xla_cpu_use_fusion_emitters": False}
"""Halves the rest of the compile; XLA gave the option up with jax 0.11."""


@dataclass(frozen=True)
class CrossCheck:
    """FLOPs per component; `compiled` is None where the compiler was not asked.

    `merged` are products that the program has more than once and the compiler computes once: scores that a policy asks
    for again, say.  They are known by compiling without that pass.
    """

    useful: dict[str, int]
    executed: dict[str, int]
    traced: dict[str, int]
    compiled: dict[str, int] | None
    cond_policy: str
    unseen_calls: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()
    merged: int = 0

    @property
    def components(self) -> tuple[str, ...]:
        """All components that some count knows, the usual ones first."""
        counts = (self.useful, self.executed, self.traced, self.compiled or {})
        seen = {name for count in counts for name in count}
        return (*(name for name in COMPONENTS if name in seen), *sorted(seen - set(COMPONENTS)))

    @property
    def faults(self) -> list[str]:
        """What does not agree, one line each."""
        lines = [
            f"{name}: closed form {self.executed.get(name, 0):,}, traced {self.traced.get(name, 0):,}"
            for name in self.components
            if self.executed.get(name, 0) != self.traced.get(name, 0)
        ]
        total = sum(self.traced.values())
        if self.compiled is not None and _differ(sum(self.compiled.values()) + self.merged, total):
            lines.append(f"total: traced {total:,}, compiled {sum(self.compiled.values()):,}, merged {self.merged:,}")
        return lines

    @property
    def rewritten(self) -> dict[str, int]:
        """Traced FLOPs less those that the compiled program still runs as products, where they differ."""
        if self.compiled is None:
            return {}
        differences = {name: self.traced.get(name, 0) - self.compiled.get(name, 0) for name in self.components}
        return {name: flops for name, flops in differences.items() if flops}


def cross_check(config: ModelConfig, steps: Schedule, *, impl: str = "auto", compile_too: bool = True) -> CrossCheck:
    """Counts a prompt's prefill, or one step, three ways; no weight is allocated and nothing runs."""
    program, args = schedule_program(config, steps, impl=impl)
    staged = jax.jit(program).trace(*args)
    with ThreadPoolExecutor(1) as pool:
        text = pool.submit(_compiled_text, staged) if compile_too else None
        counted = count_jaxpr(staged.jaxpr)
        compiled = count_hlo(text.result(), *_known_of(counted)) if text else None
    merged = 0
    if compiled and compiled.total < counted.total and _differ(compiled.total, counted.total):
        merged = count_hlo(_compiled_text(staged, merge=False), *_known_of(counted)).total - compiled.total
    traced = counted.grouped(component_of)
    return CrossCheck(
        steps_flops(config, steps),
        steps_flops(config, steps, count="executed", impl=impl),
        traced,
        _claimed(compiled.grouped(component_of), traced) if compiled else None,
        counted.cond_policy,
        compiled.unseen_calls if compiled else (),
        compiled.unexplained if compiled else (),
        merged,
    )


def _differ(compiled: int, traced: int) -> bool:
    return abs(compiled - traced) > COMPILED_TOLERANCE * traced


def _known_of(counted: TracedFlops) -> tuple[Any, ...]:
    return counted.visits, counted.kernels, counted.taken


def _compiled_text(staged: Any, merge: bool = True) -> str:
    options = _FOR_TEXT | (_QUICK_CODE if _accepts(_QUICK_CODE) else {})
    if not merge:
        options["xla_disable_hlo_passes"] += ",cse"
    return staged.lower().compile(compiler_options=options).as_text()


def _accepts(options: dict[str, Any]) -> bool:
    """Whether this XLA knows the options: tried on a program of nothing, since a large one fails late."""
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _claimed(compiled: dict[str, int], traced: dict[str, int]) -> dict[str, int]:
    """Products that the compiler left without a scope, given to the components that lack exactly so many FLOPs."""
    lacking = {name: flops - compiled.get(name, 0) for name, flops in traced.items() if compiled.get(name, 0) != flops}
    if not lacking or min(lacking.values()) < 0 or sum(lacking.values()) != compiled.get("", 0):
        return compiled
    return {name: flops for name, flops in compiled.items() if name} | {name: traced[name] for name in lacking}
