"""Which efficiencies published prompts reached, on the fit of all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from eval.cost.efficiency.posterior import fit
from eval.cost.efficiency.work import work_of
from eval.cost.published import Measured
from eval.cost.validation import parts


@dataclass(frozen=True)
class Attained:
    """A published prompt and the fractions of peak that its parts reached, by useful FLOPs."""

    row: Measured
    linear: float
    attention: float


def attained(rows: Iterable[Measured]) -> list[Attained]:
    """Of every prompt: the FLOPs of a part over what its share of the measured time would do at peak."""
    found = []
    for _, model, part in parts(row for row in rows if not row.decode):
        share_kn = fit(model.problem(part, [True] * len(part))).share_kn
        linear_n, attention_n = (share_kn[model.names.index(name)] for name in ("linear", "attention"))
        for row, linear, attention in zip(part, linear_n, attention_n, strict=True):
            work, at_peak = work_of(row), row.card.peak_flops_per_s("f16") * row.ms / 1e3
            fractions = work.linear_flops / (at_peak * linear), work.useful_attention_flops / (at_peak * attention)
            found.append(Attained(row, *map(float, fractions)))
    return [one for one in found if math.isfinite(one.linear + one.attention)]
