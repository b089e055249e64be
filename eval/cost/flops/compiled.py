"""FLOPs of a compiled program: the products in its optimised HLO, times the known trip counts around them.

XLA's own `cost_analysis()` counts a loop once and a library call not at all.  Here dots, dots inside fusions,
convolutions and the libraries' matrix products are read with their shapes; a loop whose length depends on data is
counted by the visits that an annotation found in the traced program.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from eval.cost.flops.hlo import Instruction, Module, parse_hlo
from eval.cost.flops.scoped import ScopedFlops
from eval.cost.flops.tally import Visit

_NO_PRODUCT = re.compile(
    r"(?i)topk|sort|cub(?!las)|rng|sharding|annotate|slice|copy|print|sync|allocatebuffer|scan|reduce"
)


@dataclass(frozen=True)
class CompiledFlops(ScopedFlops):
    """FLOPs by the scope that the compiler kept ("" where it kept none), the calls that it could not look into, and the
    conditionals that no traced cond explains, which count as their dearest branch."""

    unseen_calls: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()


def count_hlo(
    text: str,
    visits: Mapping[Visit, int] | None = None,
    kernels: Mapping[str, tuple[int, int]] | None = None,
    taken: Mapping[tuple[int, ...], tuple[int, ...]] | None = None,
) -> CompiledFlops:
    """The count of a compiled program's text; `visits`, `kernels` and `taken` as `TracedFlops` has them.

    A conditional takes its branches as often as the traced cond did whose branches cost the same; without one it counts
    its dearest branch, and is listed if `taken` is given.  A Triton kernel is machine code here: it costs, as often as
    the program calls it, what the traced calls of its name cost on average.  Raises `ValueError` for products in a loop
    of unknown length that no visit explains.
    """
    module = parse_hlo(text)
    reader = _Reader(module, visits or {}, kernels or {}, _by_sorted_costs(taken or {}))
    flops = reader.computation(module.entry, "")
    flops = Counter({scope: round(value) for scope, value in reader.resolved(flops).items()})
    for visit, loops in reader.per_visit.items():
        each = {loop: sum(products.values()) for loop, products in loops.items()}
        if len(set(each.values())) > 1:
            raise ValueError(f"{visit.call} in {visit.walk} costs differently in different loops: {each}")
        flops[reader.scope_of_visit[visit]] += next(iter(each.values())) * reader.visits[visit]
    unexplained = () if taken is None else tuple(sorted(reader.unexplained))
    return CompiledFlops(dict(flops), tuple(sorted(reader.unseen)), unexplained)


def _by_sorted_costs(taken: Mapping[tuple[int, ...], tuple[int, ...]]) -> dict[tuple[int, ...], Counter[int]]:
    """How often branches of each cost run, by the sorted costs of their cond: compilers may turn the order around."""
    by_costs: dict[tuple[int, ...], Counter[int]] = {}
    for costs, times in taken.items():
        for cost, runs in zip(costs, times, strict=True):
            by_costs.setdefault(tuple(sorted(costs)), Counter())[cost] += runs
    return by_costs


class TritonCall(NamedTuple):
    """How often a kernel is called, under a scope."""

    kernel: str
    scope: str


class Choice(NamedTuple):
    """How often a conditional runs whose branches a trace told apart."""

    conditional: str


class _Reader:
    def __init__(
        self,
        module: Module,
        visits: Mapping[Visit, int],
        kernels: Mapping[str, tuple[int, int]],
        by_costs: Mapping[tuple[int, ...], Mapping[int, int]],
    ) -> None:
        self.module, self.visits, self.kernels, self.by_costs = module, visits, kernels, by_costs
        self.choices: dict[Choice, list[tuple[Counter[str], Fraction]]] = {}
        self.per_visit: dict[Visit, dict[str, dict[str, int]]] = {}
        self.scope_of_visit: dict[Visit, str] = {}
        self.unseen: set[str] = set()
        self.unexplained: set[str] = set()

    def computation(self, name: str, loop: str) -> Counter[Any]:
        """Products by scope of one run of a computation; those of annotated visits go to `per_visit`."""
        total: Counter[str] = Counter()
        for instruction in self.module.computations[name].values():
            total.update(self._instruction(instruction, name, loop))
        return total

    def _instruction(self, one: Instruction, where: str, loop: str) -> Counter[Any]:
        kernel = re.search(r'triton".*\bname = "([^"]*)"', one.rest) if one.opcode == "custom-call" else None
        if kernel and kernel[1] in self.kernels:
            return Counter({TritonCall(kernel[1], one.op_name): 1})
        flops = self._product(one, where)
        if flops:
            scope = one.op_name
            visit = next((v for v in self.visits if f"jit({v.walk})" in scope and f"jit({v.call})" in scope), None)
            if visit is None:
                return Counter({scope: flops})
            self.per_visit.setdefault(visit, {}).setdefault(loop, {})[one.name] = flops
            self.scope_of_visit[visit] = scope
        if one.opcode == "while":
            (called,) = one.named("body")
            body = self.computation(called, one.name)
            if one.trip_count is None and body.total():
                raise ValueError(f"{one.name} ({one.op_name}) runs {body.total():,} FLOPs in a loop of unknown length")
            return Counter({scope: value * (one.trip_count or 0) for scope, value in body.items()})
        if one.opcode == "conditional":
            names = one.named("branch_computations") or one.named("true_computation") + one.named("false_computation")
            return self._conditional(one.name, [self.computation(name, loop) for name in names])
        total: Counter[str] = Counter()
        for called in one.named("calls") + (one.named("to_apply") if one.opcode == "call" else []):
            total.update(self.computation(called, loop))
        return total

    def _conditional(self, name: str, branches: list[Counter]) -> Counter:
        resolved = [self.resolved(branch) for branch in branches]
        costs = [branch.total() for branch in resolved]
        times = self.by_costs.get(tuple(sorted(costs)))
        if times is None or len(set(costs)) == 1:
            if len(set(costs)) > 1:
                self.unexplained.add(name)
            return max(resolved, key=Counter.total)
        # Branches that cost the same share the runs of those that did in the trace.
        shares = [Fraction(times[cost], costs.count(cost)) for cost in costs]
        self.choices[Choice(name)] = list(zip(resolved, shares, strict=True))
        return Counter({Choice(name): 1})

    def resolved(self, flops: Counter) -> Counter[str]:
        """Choices and kernels in a count as FLOPs by scope: of one run, so that branches can be compared."""
        total: Counter[str] = Counter()
        for key, times in flops.items():
            if isinstance(key, Choice):
                all_runs = sum(share for _, share in self.choices[key])
                for branch, share in self.choices[key]:
                    total.update({scope: times * value * share / all_runs for scope, value in branch.items()})
            elif isinstance(key, TritonCall):
                calls, of_calls = self.kernels[key.kernel]
                part: Any = Fraction(times * of_calls, calls)  # a Counter holds what adds up
                total[key.scope] += part
            else:
                total[key] += times
        return total

    def _product(self, one: Instruction, where: str) -> int:
        if one.opcode in ("dot", "convolution"):
            lhs, rhs = (self.module.computations[where][name].dims for name in one.operands[:2])
            if one.opcode == "dot":
                return 2 * math.prod(one.dims) * math.prod(lhs[axis] for axis in one.sizes("lhs_contracting_dims"))
            return 2 * math.prod(one.dims) * math.prod(rhs) // rhs[_kernel_output_axis(one)]
        if one.opcode == "custom-call":
            return self._library_call(one, where)
        return 0

    def _library_call(self, one: Instruction, where: str) -> int:
        """A library's matrix product says in its configuration what it contracts; other calls cannot be read."""
        target = re.search(r'custom_call_target="([^"]*)"', one.rest)
        contracted = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', one.rest)
        if contracted:
            lhs = self.module.computations[where][one.operands[0]].dims
            axes = [int(axis) for axis in re.findall(r"\d+", contracted[1])]
            return 2 * math.prod(one.dims) * math.prod(lhs[axis] for axis in axes)
        if target and not _NO_PRODUCT.search(target[1]):
            self.unseen.add(target[1])
        return 0


def _kernel_output_axis(one: Instruction) -> int:
    labels = re.search(r"dim_labels=\w+_(\w+)->", one.rest)
    if not labels:
        raise ValueError(f"{one.name}: a convolution without dim_labels")
    return labels[1].index("o")
