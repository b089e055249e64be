"""What the measured layouts would take on a card that was asked for: a floor, and a prediction where evidence is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from eval.cost.cards import Card
from eval.cost.flops.closed_form import NOT_LINEAR
from eval.cost.flops.formats import Storage, weight_bytes
from eval.cost.prediction import Predicted, predict_prefill
from eval.cost.published import PUBLISHED_CARD, published
from eval.cost.roofline import Assumptions, floor_ms
from eval.cost.validation import Prediction, validate
from eval.measure.named_layout import NamedLayout
from eval.report.number_format import count, duration, percent, size
from eval.report.table import Table
from refmodel.specification import ModelConfig

FLOOR_LENGTHS = tuple(1024 << k for k in range(7))
PREDICTED_LENGTHS = (16_384, 65_536)
EVIDENCE = ("row", "long rows of a model")
"""What is left out of published rates, in turn, to see how well they are predicted."""


@dataclass(frozen=True)
class PredictedPrefill:
    """One layout at one length: every component, predicted."""

    layout: str
    tokens: int
    components: tuple[Predicted, ...]

    def total_ms(self, edge: str) -> float:
        """low, middle or high, summed as if all components were off together."""
        return sum(getattr(one.ms, edge) for one in self.components)

    @property
    def floor_ms(self) -> float:
        return sum(one.floor_ms for one in self.components)

    @property
    def attention_ms(self) -> float:
        """With the choice of keys."""
        return sum(one.ms.middle for one in self.components if one.component in ("attention", "selection"))


@dataclass(frozen=True)
class OnCard:
    """The measured model on another card.

    `predicted`, and the published rates that it rests on, `evidence`, are empty where none are known of the card.
    """

    card: Card
    config: ModelConfig
    under: Assumptions
    floor: Table
    predicted: tuple[PredictedPrefill, ...] = ()
    evidence: tuple[Prediction, ...] = ()


def on_card(config: ModelConfig, layouts: Sequence[NamedLayout], card: Card) -> OnCard:
    """Under each of the layouts.  Raises `ValueError` where the card lacks a figure that a floor takes."""
    under = Assumptions(storage=Storage(weights=weights_format(config, card)))
    floor = floor_table(config, layouts, card, under)
    if card.name != PUBLISHED_CARD:
        return OnCard(card, config, under, floor)
    predicted = tuple(
        PredictedPrefill(layout.name, tokens, tuple(predict_prefill(model, tokens, card, under, {})))
        for layout in layouts
        for model in [config.with_layout(layout.variants)]
        for tokens in PREDICTED_LENGTHS
    )
    return OnCard(card, config, under, floor, predicted, _evidence())


@functools.cache  # it takes seconds, and is the same for every model and layout
def _evidence() -> tuple[Prediction, ...]:
    return tuple(validate(published(), schemes=EVIDENCE))


def weights_format(config: ModelConfig, card: Card) -> str:
    """bf16, or the usual 4-bit blocks where the card does not hold that."""
    fits = "memory_bytes" not in card.figures or weight_bytes(config, "bf16") <= card.memory_bytes
    return "bf16" if fits else "4.5bit"


def floor_table(config: ModelConfig, layouts: Sequence[NamedLayout], card: Card, under: Assumptions) -> Table:
    """The least time of the linear layers, and of the attention of each layout with its share."""
    full = NamedLayout.of("full", config)
    parts = {
        layout.name: [floor_ms(config.with_layout(layout.variants), tokens, card, under) for tokens in FLOOR_LENGTHS]
        for layout in dict.fromkeys([full, *layouts])
    }
    linear_ms = [sum(ms for name, ms in one.items() if name not in NOT_LINEAR) for one in parts[full.name]]
    rows = [("linear layers", *map(duration, linear_ms))]
    for name, of_lengths in parts.items():
        attention_ms = [ms.get("attention", 0) + ms.get("selection", 0) for ms in of_lengths]
        pairs = zip(attention_ms, linear_ms, strict=True)
        rows.append((name, *(f"{duration(ms)} ({percent(ms / (ms + linear))})" for ms, linear in pairs)))
    header = ("attention of", *(f"{count(tokens)} tokens" for tokens in FLOOR_LENGTHS))
    note = _note(config, card, under, parts[full.name][0]["head"])
    return Table(f"Floor: {config.name} on {card.title}", header, tuple(rows), note)


def _note(config: ModelConfig, card: Card, under: Assumptions, head_ms: float) -> str:
    peak, bandwidth = card.peak_flops_per_s() / 1e12, card.bandwidth_bytes_per_s / 1e9
    stored, in_bf16 = (size(weight_bytes(config, name)) for name in (under.storage.weights, "bf16"))
    weights = f"weights in bf16 ({in_bf16})"
    if under.storage.weights != "bf16":
        weights = f"weights of 4.5 bit ({stored}): the {in_bf16} of bf16 exceed the card's {size(card.memory_bytes)}"
    return (
        f"**A floor, not a measurement**: what these layouts would take at the least where {config.name} runs on one \
{card.title}. The time of attention, and its share beside the linear layers; per component the larger of FLOPs over \
peak ({peak:.0f} TFLOP/s, bf16) and bytes over bandwidth ({bandwidth:.0f} GB/s). Convention `layers`; the head on the \
last token adds {duration(head_ms)}. Cache in bf16, {weights}."
    )
