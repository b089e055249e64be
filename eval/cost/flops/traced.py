"""FLOPs of any function, read off its jaxpr: what `eval.cost.flops.interpreter` adds up, by scope.

Products count 2 per multiply-accumulate; all else counts nothing.  A choice that depends on data goes on as what
`attention.assumption` says of it.  A product whose result nobody reads (the value that `grad` drops) is in the program,
so it counts; compilers drop it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import jax

from eval.cost.flops.annotations import ANNOTATIONS, Annotation, NeedsValue
from eval.cost.flops.interpreter import CondPolicy, Interpreter
from eval.cost.flops.jaxprs import open_jaxpr
from eval.cost.flops.scoped import ScopedFlops
from eval.cost.flops.tally import KernelCalls, Taken, Visit


@dataclass(frozen=True)
class TracedFlops(ScopedFlops):
    """FLOPs by scope ("ffn/experts"), the policy for a cond, how often annotated calls run in all, for each Pallas
    kernel its calls and their FLOPs, and for conds, by the costs of their branches, how often each branch runs."""

    cond_policy: CondPolicy
    visits: Mapping[Visit, int]
    kernels: Mapping[str, tuple[int, int]]
    taken: Mapping[tuple[int, ...], tuple[int, ...]]

    def __str__(self) -> str:
        width = max((len(scope) for scope in self.by_scope), default=0)
        lines = [f"{scope or '(no scope)':{width}}  {flops:>26,}" for scope, flops in sorted(self.by_scope.items())]
        return "\n".join([*lines, f"{'total':{width}}  {self.total:>26,}"])


def count_flops(
    function: Callable, *args: Any, cond: CondPolicy = "dearest", annotations: Sequence[Annotation] = ANNOTATIONS
) -> TracedFlops:
    """FLOPs of `function(*args)`; arguments may be arrays or `jax.ShapeDtypeStruct`, nothing is computed.

    Raises `ValueError` for a while loop that runs products, an opaque call, or under `cond="error"` a cond whose
    branches cost differently.

    Examples:
        >>> import jax
        >>> from eval import count_flops
        >>> a, b = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((3, 5), (5, 7)))
        >>> count_flops(lambda a, b: jax.nn.relu(a @ b), a, b).total
        210
    """
    for leaf in jax.tree.leaves(args):
        if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
            raise ValueError(f"arguments must be arrays, shapes of arrays or numbers, got {reprlib.repr(leaf)}")
    return count_jaxpr(jax.make_jaxpr(function)(*args), cond=cond, annotations=annotations)


def count_jaxpr(
    jaxpr: Any, *, cond: CondPolicy = "dearest", annotations: Sequence[Annotation] = ANNOTATIONS
) -> TracedFlops:
    """`count_flops` of a function that is traced already."""
    if cond not in get_args(CondPolicy):
        raise ValueError(f"no cond policy {cond!r}; accepted: {', '.join(get_args(CondPolicy))}")
    unknown = [None] * len(open_jaxpr(jaxpr)[0].invars)
    try:
        _, tally = Interpreter(cond, tuple(annotations)).run(jaxpr, unknown, "")
    except NeedsValue:  # perhaps of a value that an earlier loop carried out
        _, tally = Interpreter(cond, tuple(annotations), follows_loops=True).run(jaxpr, unknown, "")
    by_scope = {key: flops for key, flops in tally.items() if isinstance(key, str) and flops}
    visits = {key: times for key, times in tally.items() if isinstance(key, Visit)}
    names = {key.kernel for key in tally if isinstance(key, KernelCalls)}
    kernels = {name: (tally[KernelCalls(name)], tally[KernelCalls(name, flops=True)]) for name in names}
    conds = {key.costs for key in tally if isinstance(key, Taken)}
    taken = {costs: tuple(tally[Taken(costs, branch)] for branch in range(len(costs))) for costs in conds}
    return TracedFlops(by_scope, cond, visits, kernels, taken)
