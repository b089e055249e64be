"""From which prompt on attention needs more time than the linear layers, by the dtypes that a card multiplies in.

    time of linear     = Σ over components max( FLOPs / rate(products),         bytes / bandwidth )
    time of attention  = Σ                 max( FLOPs / rate(attention dtype),  bytes / bandwidth )

The crossover by FLOPs knows neither.  Where compute binds all of it the two differ by the ratio of the rates alone:
N* by time is `crossings` with an `attention_cost` of rate(products) / rate(attention dtype).  These are floors, so what
follows from them is a prediction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final, NamedTuple

from eval.cost.atlas import roofline_crossover
from eval.cost.cards import Card
from eval.cost.flops.formats import Storage
from eval.cost.roofline import Assumptions
from refmodel.specification import ModelConfig


class Rates(NamedTuple):
    """What both operands are: of the linear layers' products, and of attention's."""

    products: str = "bf16"
    attention: str = "bf16"

    @property
    def title(self) -> str:
        return f"{self.products} products, {self.attention} attention"


USUAL_RATES: Final = (Rates(), Rates("fp8"), Rates(attention="fp8"), Rates("fp8", "fp8"))
"""That a table compares."""


def rates_of(card: Card, asked: Rates = Rates()) -> tuple[tuple[Rates, ...], tuple[str, ...]]:
    """Those that were asked for and the usual ones, as far as the card has their peaks; and the dtypes that it lacks.

    Raises `ValueError` where it lacks what was asked for.
    """
    for dtype in asked:
        card.peak_flops_per_s(dtype)
    wanted = dict.fromkeys((asked, *USUAL_RATES))
    missing = dict.fromkeys(dtype for rates in wanted for dtype in rates if dtype not in card.peak)
    return tuple(rates for rates in wanted if not missing.keys() & set(rates)), tuple(missing)


def time_crossovers(
    model: ModelConfig, card: Card, storage: Storage, rates: Iterable[Rates]
) -> dict[Rates, int | None]:
    """N* by time under each of the rates; None where attention never takes longer."""
    under = Assumptions(storage)
    return {
        one: roofline_crossover(
            model, card, dataclasses.replace(under, products=one.products, attention_dtype=one.attention)
        )
        for one in rates
    }
