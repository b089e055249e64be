"""Where the wall stands for each of many models: its crossovers, and what whole prompts cost beside another model's."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from eval.cost.cards import Card
from eval.cost.crossover import FAR_TOKENS, attention_total, crossings, first_true, limiting_share
from eval.cost.curves import AttentionCurve, Course, attending_layers
from eval.cost.flops.formats import Storage
from eval.cost.flops.traffic import kv_cache_bytes
from eval.cost.roofline import FLOOR, Assumptions, floor_ms, longest_fit_tokens
from eval.cost.sign_changes import SignChanges, sign_changes
from refmodel.specification import ModelConfig

CACHE_TOKENS: Final = 131_072
"""The context whose cache is told."""


@dataclass(frozen=True)
class Place:
    """One model in the atlas.

    Attributes:
        linear_flops_per_token: of the layers.
        crossings: where attention asks for more FLOPs than the linear layers.
        limiting_share: what attention's share tends to.
        roofline_tokens: where its least time on the card exceeds theirs first; None if it never does.
        cheaper_than_base: where the base's whole prompt asks for more FLOPs than this model's.
        cache_bytes: of `CACHE_TOKENS`.
        fits_tokens: the longest context that fits the card beside the weights; None if any does.
    """

    model: ModelConfig
    linear_flops_per_token: int
    crossings: SignChanges
    limiting_share: float
    roofline_tokens: int | None
    cheaper_than_base: SignChanges
    cache_bytes: int
    fits_tokens: int | None


def place(model: ModelConfig, base: ModelConfig, card: Card, storage: Storage = Storage()) -> Place:
    """`model` beside `base` on a card, weights and cache stored as told.

    Examples:
        >>> from eval.cost.atlas import place
        >>> from eval.cost.cards import card
        >>> from refmodel.presets import preset
        >>> found = place(preset("qwen3-4b"), preset("qwen3-30b-a3b"), card("r9700"))
        >>> found.crossings.first, found.cheaper_than_base.at
        (24640, (18368,))
    """
    under = Assumptions(storage=storage)
    return Place(
        model,
        2 * model.linear_macs,
        crossings(model),
        limiting_share(model),
        roofline_crossover(model, card, under),
        sign_changes(Whole(base), Whole(model)),
        kv_cache_bytes(model, CACHE_TOKENS, storage.kv),
        longest_fit_tokens(model, card, storage),
    )


def roofline_crossover(model: ModelConfig, card: Card, under: Assumptions = FLOOR) -> int | None:
    """The first prompt of which attention needs more time than the linear layers, each component at its floor."""

    def overtakes(tokens: int) -> bool:
        ms = floor_ms(model.at_length(tokens), tokens, card, under)
        attention = [part for part in ("attention", "selection") if part in ms]
        linear = [part for part in ms if part not in (*attention, "head")]
        # Where both ask for as much, rounding does not decide.
        return sum(ms[part] for part in attention) > (1 + 1e-12) * sum(ms[part] for part in linear)

    return first_true(overtakes) if overtakes(FAR_TOKENS) else None


def cost_per_token(model: ModelConfig, tokens: int) -> float:
    """FLOPs of a prompt over its tokens: linear layers and attention."""
    return 2 * model.linear_macs + float(attention_total(model, tokens)) / tokens


class Whole(AttentionCurve):
    """n -> all FLOPs of a prompt, linear layers and attention."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__(attending_layers(model))
        self.per_token = 2 * model.linear_macs

    def total(self, tokens: int) -> int:
        return super().total(tokens) + self.per_token * tokens

    def by_token(self, start: int, tokens: int) -> np.ndarray:
        return super().by_token(start, tokens) + self.per_token

    @property
    def course(self) -> Course | None:
        found = super().course
        if found is None:
            return None
        constant, line, square = found.quadratic
        return Course(
            found.settled_tokens, found.period_tokens, (constant, line + Fraction(self.per_token), square), found.power
        )
