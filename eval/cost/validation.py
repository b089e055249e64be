"""Predictions of published rates by rows that were left out, with intervals, and their errors by family.

Every scheme (`eval.cost.efficiency.groups`) leaves groups of rows out in turn and predicts them from all others, by the
models of `eval.cost.efficiency.model`.  What is learnt of efficiencies leaves a group out exactly; how each row divides
into its terms, about which the model is linearised, is found once, with all rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eval.cost.efficiency.decode import DECODE
from eval.cost.efficiency.effects import codes
from eval.cost.efficiency.groups import SCHEMES, groups
from eval.cost.efficiency.interval import FEWEST, KNOWN_WITHIN, half_width
from eval.cost.efficiency.model import TimeModel
from eval.cost.efficiency.naive import two_point_rate
from eval.cost.efficiency.posterior import LogTimes, fit, predict
from eval.cost.efficiency.prompts import ROCM, VULKAN
from eval.cost.efficiency.relations import Relations
from eval.cost.published import Measured

TABLE: Final = "table"
"""The scheme that leaves all given rows out and learns from others alone."""


@dataclass(frozen=True)
class Prediction:
    """A published row, its predicted rate with a 90 % interval, and what it rests on.

    Attributes:
        efficiency: by term of its model, the fraction of what the card can do.
        naive_tokens_per_s: of a parabola through two other rows of its series; None without two.
    """

    row: Measured
    scheme: str
    tokens_per_s: float
    low: float
    high: float
    efficiency: dict[str, float]
    basis: str
    naive_tokens_per_s: float | None = None

    @property
    def error(self) -> float:
        """(predicted - published) / published."""
        return self.tokens_per_s / self.row.tokens_per_s - 1

    @property
    def naive_error(self) -> float | None:
        """The same of the parabola."""
        return None if self.naive_tokens_per_s is None else self.naive_tokens_per_s / self.row.tokens_per_s - 1

    @property
    def known(self) -> bool:
        """False where the answer is "I don't know": the interval's ends differ by more than `KNOWN_WITHIN`."""
        return self.high <= KNOWN_WITHIN * self.low

    @property
    def covered(self) -> bool:
        return self.low <= self.row.tokens_per_s <= self.high


def validate(
    rows: Sequence[Measured], learn_from: Sequence[Measured] = (), schemes: Iterable[str] = (*SCHEMES, TABLE)
) -> list[Prediction]:
    """Every row of `rows` predicted under each scheme, from its other rows and from `learn_from`."""
    own = {_identity(row) for row in rows}
    others = [row for row in learn_from if _identity(row) not in own]
    left_out = list(_left_out(rows, others, tuple(schemes)))
    calibration = list(_left_out(others, [], tuple(SCHEMES))) if others else []
    return list(_with_intervals(left_out, calibration))


def parts(rows: Iterable[Measured]) -> Iterator[tuple[str, TimeModel, list[Measured]]]:
    """The rows that are fitted together, with their model: prompts of each backend, and decode."""
    found: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        found[part_of(row)].append(row)
    for name, part in found.items():
        yield name, _MODELS[name], part


_MODELS: Final = {"decode": DECODE, "ROCm": ROCM, "Vulkan": VULKAN}


def part_of(row: Measured) -> str:
    """ "ROCm" or "Vulkan", or "decode"."""
    return "decode" if row.decode else row.setup.backend


def _identity(row: Measured) -> tuple[object, ...]:
    return row.source, row.setup.run, row.name, row.quant, row.tokens, row.depth, row.decode, row.tokens_per_s


@dataclass(frozen=True)
class _LeftOut:
    """A prediction without its group, in want of an interval.

    Attributes:
        group: what was left out with it, the same number for the same rows.
        sd: of the log of the rate.
    """

    made: Prediction
    group: frozenset[Measured]
    sd: float

    @property
    def z(self) -> float:
        """Deviations that it was off by."""
        return abs(math.log(self.made.tokens_per_s / self.made.row.tokens_per_s)) / self.sd


def _left_out(rows: Iterable[Measured], others: Iterable[Measured], schemes: Sequence[str]) -> Iterator[_LeftOut]:
    """Of each part of `rows` by itself, under each scheme."""
    beside = {name: part for name, _, part in parts(others)}
    for name, model, part in parts(rows):
        known = part + beside.get(name, [])
        everything, relations = [True] * len(known), Relations.of(known)
        problem = model.problem(known, everything)
        fitted = fit(problem)
        for scheme in (scheme for scheme in schemes if scheme != TABLE):
            for group in groups(part, scheme):
                if len(group) < len(known):  # something is left to learn from
                    found = predict(problem, fitted, group, without=group)
                    yield from _predictions(model, known, scheme, group, found, relations)
        if TABLE in schemes and beside.get(name):
            group = list(range(len(part)))
            problem = model.problem(known, [i >= len(part) for i in range(len(known))])
            found = predict(problem, fit(problem), group)
            yield from _predictions(model, known, TABLE, group, found, relations)


def _predictions(
    model: TimeModel, known: list[Measured], scheme: str, group: list[int], found: LogTimes, relations: Relations
) -> Iterator[_LeftOut]:
    left = frozenset(known[i] for i in group)
    for g, i in enumerate(group):
        row, rate = known[i], known[i].tokens / math.exp(found.log_seconds_g[g])
        efficiency = {name: math.exp(-f) for name, f in zip(model.names, found.factor_kg[:, g], strict=True)}
        series, basis = relations.beside(i, group)
        naive = two_point_rate(row, [known[j] for j in series])
        yield _LeftOut(Prediction(row, scheme, rate, rate, rate, efficiency, basis, naive), left, float(found.sd_g[g]))


def _with_intervals(left_out: Sequence[_LeftOut], calibration: Sequence[_LeftOut]) -> Iterator[Prediction]:
    """Calibrated on rows outside its group: of its family and scheme, or where these are few of its family, or kind."""
    everything = (*left_out, *calibration)
    z_n = np.array([one.z for one in everything])
    nearest = (
        codes([(one.made.row.family, one.made.scheme) for one in everything]),
        codes([one.made.row.family for one in everything]),
        codes([one.made.row.kind for one in everything]),
    )
    row_n = codes([one.made.row for one in everything])
    number = {one.made.row: int(code) for one, code in zip(everything, row_n, strict=True)}
    members: dict[frozenset[Measured], NDArray[np.bool_]] = {}
    for i, one in enumerate(left_out):
        if one.group not in members:
            members[one.group] = ~np.isin(row_n, [number[row] for row in one.group])
        outside = members[one.group]
        near = (z_n[outside & (code == code[i])] for code in nearest)
        width = half_width(next((z for z in near if z.size >= FEWEST), np.empty(0)))
        rate, spread = one.made.tokens_per_s, math.exp(width * one.sd)
        yield dataclasses.replace(one.made, low=rate / spread, high=rate * spread)
