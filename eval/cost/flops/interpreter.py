"""The interpreter behind `eval.cost.flops.traced`: a jaxpr, equation by equation, on shapes instead of numbers.

A scan costs its length times its body; a nested jit, a remat and a custom derivative cost what is inside.  A `cond`
takes the branch that its predicate names where that is known (a loop goes turn by turn where its turns decide), and
otherwise follows a stated policy.  A while loop with products in it has no cost until an annotation says how often it
turns; neither has a call into something that is no jaxpr.  Both are errors that name the culprit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from attention.assumption import STAND_IN
from eval.cost.flops.annotations import CALLED_KERNELS, PALLAS_KERNELS, Annotation, NeedsValue
from eval.cost.flops.constant_folding import Known, Operand, Varying, apply
from eval.cost.flops.jaxprs import calls_named, open_jaxpr, scope_within, subjaxprs
from eval.cost.flops.products import PRODUCTS
from eval.cost.flops.tally import KernelCalls, Taken, Tally, Visit, flops_of, repeated

CondPolicy = Literal["dearest", "cheapest", "error"]
Operands = Sequence[Operand]

_CALLS = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
          "custom_vjp_call_jaxpr")  # fmt: skip
_OPAQUE = ("custom_call", "ffi_call", "tpu_custom_call", "pure_callback", "io_callback", "shard_map", "xla_pmap")


@dataclass(frozen=True)
class Interpreter:
    """Runs a jaxpr on what is known of its operands, and adds up what that costs."""

    cond: CondPolicy
    annotations: tuple[Annotation, ...]
    free_calls: frozenset[str] = frozenset()
    """Calls that are counted elsewhere: those inside an annotated one."""
    follows_loops: bool = False
    """Whether to go through a scan turn by turn for the values that it carries out, not only for its cost."""
    found: dict[Any, Any] = field(default_factory=dict)
    """What is the same in every turn of a loop, such as the cost of a jaxpr of whose operands nothing is known."""

    def once(self, key: Any, find: Callable[[], Any]) -> Any:
        """What `find` gives, found once; ids in keys are those of parts of the jaxpr that is counted."""
        if key not in self.found:
            self.found[key] = find()
        return self.found[key]

    def run(self, closed: Any, operands: Operands, scope: str) -> tuple[list[Operand], Tally]:
        """Results and cost of a jaxpr, given what is known of its operands."""
        if any(operands):
            return self._run(closed, operands, scope)
        return self.once(("run", id(closed), scope, self.free_calls), lambda: self._run(closed, operands, scope))

    def _run(self, closed: Any, operands: Operands, scope: str) -> tuple[list[Operand], Tally]:
        jaxpr, consts = open_jaxpr(closed)
        known: dict[Any, Operand] = dict(zip(jaxpr.constvars, map(Known, consts), strict=True))
        known.update(zip(jaxpr.invars, operands, strict=True))

        def read(atom: Any) -> Operand:
            return Known(atom.val) if hasattr(atom, "val") else known[atom]

        tally: Tally = Counter()
        for eqn in jaxpr.eqns:
            within = self.once(("scope", scope, id(eqn)), partial(scope_within, scope, eqn))
            out, cost = self._equation(eqn, [read(atom) for atom in eqn.invars], within)
            known.update(zip(eqn.outvars, out, strict=True))
            if cost:
                tally.update(cost)
        return [read(atom) for atom in jaxpr.outvars], tally

    def _equation(self, eqn: Any, operands: Operands, scope: str) -> tuple[Operands, Tally]:
        name, unknown = eqn.primitive.name, [None] * len(eqn.outvars)
        if name in PRODUCTS:
            return unknown, Counter({scope: PRODUCTS[name](eqn)})
        if name in _CALLS:
            return self._call(eqn, operands, scope)
        if name == "scan":
            return self._scan(eqn, operands, scope)
        if name == "cond":
            return self._cond(eqn, operands, scope)
        if name == "pallas_call":
            return unknown, _kernel_call(eqn, _pallas(eqn, operands, scope), scope)
        if name in _OPAQUE:
            raise ValueError(f"{name} in scope {scope!r}: what it computes cannot be seen, so it cannot be counted")
        inner = self.once(("inner", id(eqn)), lambda: list(subjaxprs(eqn)))
        for jaxpr in inner:
            _, cost = self.run(jaxpr, [None] * len(open_jaxpr(jaxpr)[0].invars), scope)
            if flops := flops_of(cost):
                raise ValueError(f"{name} in scope {scope!r} runs {flops:,} FLOPs as often as its data says: "
                                 "use a scan, or annotate it")  # fmt: skip
        combines = name.startswith("scatter")  # with a jaxpr of one addition, say, which evaluating it runs
        known = [operand for operand in operands if operand is not None]
        if (inner and not combines) or len(known) < len(operands):
            return unknown, Counter()
        return apply(eqn, known), Counter()

    def _call(self, eqn: Any, operands: Operands, scope: str) -> tuple[Operands, Tally]:
        jaxpr = next(eqn.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in eqn.params)
        name = str(eqn.params.get("name", ""))
        if name in self.free_calls:
            return [None] * len(eqn.outvars), Counter()
        if name == STAND_IN:
            return [operands[1]], Counter()
        if name:
            flops = _of_kernel(CALLED_KERNELS, eqn, operands)
            if flops is not None:
                return [None] * len(eqn.outvars), _kernel_call(eqn, flops, scope)
        for annotation in self.annotations:
            trips = annotation(name, operands)
            if trips is not None:
                return [None] * len(eqn.outvars), self._annotated(name, jaxpr, trips, scope)
        return self.run(jaxpr, operands, scope)

    def _annotated(self, walk: str, jaxpr: Any, trips: Mapping[str, int], scope: str) -> Tally:
        """The named calls inside, as often as they are said to run, and what runs around them."""
        around = replace(self, free_calls=self.free_calls.union(trips))
        _, cost = around.run(jaxpr, [None] * len(open_jaxpr(jaxpr)[0].invars), scope)
        tally = Counter(cost)
        for name, times in trips.items():
            call = self.once(("call", name, id(jaxpr)), partial(next, calls_named(name, jaxpr), None))
            if call is None:
                raise ValueError(f"the annotation in scope {scope!r} speaks of {name!r}, which is not called there")
            _, cost = self.run(call.params["jaxpr"], [None] * len(call.invars), scope)
            tally.update(repeated(cost, times))
            tally[Visit(walk, name)] += times
        return tally

    def _scan(self, eqn: Any, operands: Operands, scope: str) -> tuple[Operands, Tally]:
        """Length times the body where each turn costs the same; turn by turn where that needs the turns' values."""
        body, length = eqn.params["jaxpr"], eqn.params["length"]
        inner = open_jaxpr(body)[0]
        n_carry = sum(o.aval.shape == i.aval.shape for o, i in zip(eqn.outvars, inner.outvars, strict=True))
        n_xs = sum(o.aval.shape != i.aval.shape for o, i in zip(eqn.invars, inner.invars, strict=True))
        n_consts = len(operands) - n_carry - n_xs
        consts, carry, xs = (
            operands[:n_consts],
            operands[n_consts : len(operands) - n_xs],
            operands[len(operands) - n_xs :],
        )
        unknown = [None] * len(eqn.outvars)
        if not (self.follows_loops and any(carry)):
            try:
                _, once = self.run(body, [*consts, *(x and Varying() for x in (*carry, *xs))], scope)
                return [*(x and Varying() for x in carry), *unknown[n_carry:]], repeated(once, length)
            except NeedsValue:
                pass
        total: Tally = Counter()
        for turn in reversed(range(length)) if eqn.params["reverse"] else range(length):
            out, cost = self.run(body, [*consts, *carry, *(x and x.at(turn) for x in xs)], scope)
            carry = out[:n_carry]
            total.update(cost)
        return [*carry, *unknown[n_carry:]], total

    def _cond(self, eqn: Any, operands: Operands, scope: str) -> tuple[Operands, Tally]:
        index, *rest = operands
        runs = [self.run(branch, rest, scope) for branch in eqn.params["branches"]]
        costs = tuple(flops_of(cost) for _, cost in runs)
        alike = len(set(costs)) == 1
        if isinstance(index, Known):
            branch = min(max(int(index.value), 0), len(runs) - 1)
            out = runs[branch][0]
        elif isinstance(index, Varying) and not alike:
            raise NeedsValue(f"cond in scope {scope!r}: which branch runs depends on the turn of a loop")
        elif self.cond == "error" and not alike:
            raise ValueError(f"cond in scope {scope!r}: its branches cost {list(costs)} FLOPs; choose a cond policy")
        else:
            branch = (max if self.cond == "dearest" else min)(range(len(runs)), key=costs.__getitem__)
            every_branch = zip(*(out for out, _ in runs), strict=True)
            out = [Varying() if index and all(one) else None for one in every_branch]
        cost = runs[branch][1]
        return out, cost if alike else cost + Counter({Taken(costs, branch): 1})


def _of_kernel(kernels: Sequence[Callable], eqn: Any, operands: Operands) -> int | None:
    """FLOPs of a kernel that is known by its name."""
    return next((flops for kernel in kernels if (flops := kernel(eqn, operands)) is not None), None)


def _kernel_call(eqn: Any, flops: int, scope: str) -> Tally:
    name = str(eqn.params["name"])
    return Counter({scope: flops, KernelCalls(name): 1, KernelCalls(name, flops=True): flops})


def _pallas(eqn: Any, operands: Operands, scope: str) -> int:
    flops = _of_kernel(PALLAS_KERNELS, eqn, operands)
    if flops is not None:
        return flops
    estimate = eqn.params.get("cost_estimate")
    if estimate is None:
        raise ValueError(f"pallas_call in scope {scope!r} carries no cost_estimate: give it the tiles it will run")
    return int(estimate.flops)
