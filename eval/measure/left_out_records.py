"""Kept records, predicted from one another by the model that predicts published rates.

    t = linear FLOPs / (peak · e_linear)  +  attention FLOPs / (peak · e_full or e_mixer)  +  weights / bandwidth

Efficiencies are shared as in `eval.cost.efficiency`: one for linear layers and one for full attention, which change
slowly with the length, and one for each other mixer, which differ by mixer.  Left out are, of each model, one record,
all of a length, all of a layout, or the longest of a layout, where others of the model are left; and all records of a
model, where there are several.  A record's whole prefill is predicted; what its parts took apart is not read.
`of_another_model` is the answer for a model without records, with intervals as those of left-out models.

How far the efficiencies of two models differ (the scales of "model") is assumed: of three values tried for each, the
best over all that is left out of the seven models of `eval/results`.  How far off those are is no independent test.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from attention.full import Full
from eval.cost.cards import Card, card_of_device
from eval.cost.efficiency.effects import Effect, Floats, covariance
from eval.cost.efficiency.interval import KNOWN_WITHIN, half_width
from eval.cost.efficiency.posterior import LogTimes, Problem, fit, predict
from eval.cost.flops.closed_form import attention_cost, linear_flops, steps_flops
from eval.measure.records.file import latest
from eval.measure.records.schema import Record
from refmodel.schedule import prefill_steps
from refmodel.specification import ModelConfig

EFFECTS: Final = (
    (Effect(1.0), Effect(0.3, ("model",)), Effect(0.1, (), "tokens_log2")),
    (Effect(1.0), Effect(0.1, ("model",)), Effect(0.1, (), "tokens_log2")),
    (Effect(1.0), Effect(1.0, ("layout",)), Effect(0.1, (), "tokens_log2"), Effect(0.1, ("layout",), "tokens_log2")),
    (Effect(0.3),),
)
"""What linear layers, full attention, other mixers and the reading of weights share."""
TYPICAL: Final = (3.0, 2.0, 3.0, 1.0)
NOISE: Final = 0.02
LONG: Final = 100_000
"""Records of more tokens are the longest of a layout."""


@dataclass(frozen=True)
class Prefill:
    """A measured whole prefill and its terms, seconds at peak and at the bandwidth."""

    model: str
    layout: str
    tokens: int
    ms: float
    terms_s: tuple[float, ...]


@dataclass(frozen=True)
class LeftOut:
    """A prefill predicted without some of the others, with an interval of 90 %."""

    prefill: Prefill
    scheme: str
    ms: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """False where the answer is "I don't know"."""
        return self.high <= KNOWN_WITHIN * self.low

    @property
    def error(self) -> float:
        return self.ms / self.prefill.ms - 1


SCHEMES: Final[Mapping[str, Callable[[Prefill], object]]] = MappingProxyType(
    {
        "record": lambda one: (one.model, one.layout, one.tokens),
        "length": lambda one: (one.model, one.tokens),
        "layout": lambda one: (one.model, one.layout),
        "long records of a layout": lambda one: (one.model, one.layout) if one.tokens > LONG else None,
        "model": lambda one: one.model,
    }
)
"""A group's key by prefill, None for one that is kept."""

BITS_OF_OLD_RECORDS: Final = 16.0
"""Records that do not tell how weights were held are of bf16."""


def prefills(records: Iterable[Record], config: ModelConfig, card: Card | None = None) -> list[Prefill]:
    """The newest whole prefill of each cell, on the card that measured it.  Raises `ValueError` without that card."""
    made = []
    for record in latest(records):
        if record.kind != "prefill" or record.status != "ok" or record.timing is None:
            continue
        device = record.run.environment.device_kind
        on = card or card_of_device(device)
        if on is None:
            raise ValueError(f"no card is known for {device}; a card's figures are needed to predict its records")
        ms = statistics.median(record.timing.samples_ms)
        terms_s = _terms_s(config, record.layout, record.tokens, on, record.run.weight_bits or BITS_OF_OLD_RECORDS)
        made.append(Prefill(config.name, record.layout, record.tokens, ms, terms_s))
    return made


def left_out(rows: Sequence[Prefill]) -> list[LeftOut]:
    """Every prefill under every scheme.  Intervals are calibrated on the records of other groups.

    A group that is all of a model is left out as a model alone, and one that is all rows not at all.
    """
    problem = _problem(rows, len(rows))
    fitted, models = fit(problem), _groups(rows, SCHEMES["model"])
    made = []
    for scheme, key in SCHEMES.items():
        whole = [list(range(len(rows)))] if scheme == "model" else models
        groups = [group for group in _groups(rows, key) if group not in whole]
        found = [predict(problem, fitted, group, without=group) for group in groups]
        z = [_z(problem, group, one) for group, one in zip(groups, found, strict=True)]
        for g, (group, one) in enumerate(zip(groups, found, strict=True)):
            others = np.concatenate([np.empty(0), *(other for k, other in enumerate(z) if k != g)])
            made += _with_intervals([rows[i] for i in group], scheme, one, others)
    return made


def of_another_model(
    rows: Sequence[Prefill], config: ModelConfig, layout: str, tokens: Sequence[int], card: Card
) -> list[LeftOut]:
    """Prefills of a model without records, from those of others; intervals are calibrated on left-out models."""
    wanted = [Prefill(config.name, layout, n, math.nan, _terms_s(config, layout, n, card)) for n in tokens]
    problem = _problem([*rows, *wanted], len(rows))
    fitted = fit(problem)
    found = predict(problem, fitted, range(len(rows), len(rows) + len(wanted)))
    models = [group for group in _groups(rows, SCHEMES["model"]) if len(group) < len(rows)]
    z = [_z(problem, group, predict(problem, fitted, group, without=group)) for group in models]
    return _with_intervals(wanted, "another model", found, np.concatenate([np.empty(0), *z]))


def _groups(rows: Sequence[Prefill], key: Callable[[Prefill], object]) -> list[list[int]]:
    """Places of the rows of one key, None left aside."""
    keys = [key(row) for row in rows]
    return [[i for i, of in enumerate(keys) if of == one] for one in dict.fromkeys(keys) if one is not None]


def _z(problem: Problem, group: Sequence[int], found: LogTimes) -> Floats:
    """How many deviations off the rows of a group are."""
    return np.abs(found.log_seconds_g - problem.log_seconds_n[group]) / found.sd_g


def _with_intervals(rows: Sequence[Prefill], scheme: str, found: LogTimes, z: Floats) -> list[LeftOut]:
    """Each row's prediction, with an interval calibrated on `z`."""
    made = []
    for row, log_seconds, sd in zip(rows, found.log_seconds_g, found.sd_g, strict=True):
        ms, spread = 1e3 * math.exp(log_seconds), math.exp(half_width(z) * sd)
        made.append(LeftOut(row, scheme, ms, ms / spread, ms * spread))
    return made


def _problem(rows: Sequence[Prefill], known: int) -> Problem:
    """The first `known` rows are."""
    n = len(rows)
    features: dict[str, list[object]] = {
        "model": [row.model for row in rows],
        "layout": [row.layout for row in rows],
        "tokens_log2": [math.log2(row.tokens / 16_384) for row in rows],
    }
    return Problem(
        np.array([row.terms_s for row in rows]).T, np.log(TYPICAL),
        np.array([covariance(effects, features, n) for effects in EFFECTS]), np.zeros((n, n)), np.full(n, NOISE**2),
        np.log([row.ms / 1e3 for row in rows]), np.arange(n) < known,
    )  # fmt: skip


def _terms_s(
    config: ModelConfig, layout: str, tokens: int, card: Card, weight_bits: float = BITS_OF_OLD_RECORDS
) -> tuple[float, ...]:
    """Linear layers, full attention, other mixers with their choice of keys, reading the weights as they are held."""
    steps, peak = prefill_steps(tokens), card.peak_flops_per_s("bf16")
    model, full, other = config.with_layout(layout).at_length(tokens), 0, 0
    for (layer, depth), layers in Counter(model.layers_at_depth).items():
        if layer.attends:
            flops = layers * sum(attention_cost(layer, step, depth=depth).flops(layer.heads) for step in steps)
            full, other = (full + flops, other) if isinstance(layer.mixer, Full) else (full, other + flops)
    weights_s = config.params * weight_bits / 8 / card.bandwidth_bytes_per_s
    return linear_flops(steps_flops(model, steps)) / peak, full / peak, other / peak, weights_s
