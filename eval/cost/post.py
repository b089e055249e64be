"""The post that started this project: its table under its own convention, beside the exact one.

The post counts 3.3e9 active parameters, N²/2 pairs and 195 TFLOPS; the model has 2.73e9 in its layers, N(N+1)/2 pairs,
and the card 191.4 TFLOPS.  Its second model, "35B-A3B", has a shape that was never shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eval.cost.cards import Card
from eval.cost.crossover import Linear, Pairs, attention_total, crossover_tokens, linear_params
from refmodel.presets import preset
from refmodel.specification import ModelConfig

MODEL: Final = "qwen3-30b-a3b"
SECOND_MODEL: Final = "post-35b-a3b"
POST_FLOPS_PER_S: Final = 195e12


@dataclass(frozen=True)
class Convention:
    """What a row of the table counts, and the rate that turns it into time."""

    name: str
    linear: Linear
    pairs: Pairs
    flops_per_s: float


@dataclass(frozen=True)
class PostRow:
    """One prompt length: FLOPs, milliseconds, and attention's share of both."""

    tokens: int
    linear_flops: float
    attention_flops: float
    linear_ms: float
    attention_ms: float

    @property
    def share(self) -> float:
        return self.attention_flops / (self.attention_flops + self.linear_flops)


@dataclass(frozen=True)
class Printed:
    """A row as the post prints it."""

    tokens: int
    linear_flops: float
    attention_flops: float
    linear_ms: int
    attention_ms: int
    share_percent: int


PRINTED: Final = (
    Printed(1024, 6.8e12, 4.1e11, 35, 2, 6),
    Printed(4096, 2.7e13, 6.6e12, 138, 34, 19),
    Printed(8192, 5.4e13, 2.6e13, 277, 134, 33),
    Printed(16_384, 1.1e14, 1.0e14, 555, 535, 49),
    Printed(32_768, 2.2e14, 4.2e14, 1110, 2140, 66),
    Printed(65_536, 4.3e14, 1.7e15, 2220, 8560, 79),
)


def post_convention() -> Convention:
    return Convention("the post's", "active-headline", "half-square", POST_FLOPS_PER_S)


def exact_convention(card: Card) -> Convention:
    return Convention("exact", "layers", "causal", card.peak_flops_per_s())


def row(model: ModelConfig, tokens: int, convention: Convention) -> PostRow:
    """One row of the table under a convention."""
    linear = 2 * linear_params(model, convention.linear) * tokens
    attention = int(attention_total(model, tokens, convention.pairs))
    ms = 1e3 / convention.flops_per_s
    return PostRow(tokens, linear, attention, linear * ms, attention * ms)


def rounding_faults() -> list[str]:
    """Where the post's printed figures are not the rounded values of its own arithmetic."""
    faults = []
    for printed in PRINTED:
        own = row(preset(MODEL), printed.tokens, post_convention())
        for what, said, works_out in (
            ("linear FLOPs", f"{printed.linear_flops:.1e}", f"{own.linear_flops:.1e}"),
            ("attention FLOPs", f"{printed.attention_flops:.1e}", f"{own.attention_flops:.1e}"),
            ("linear ms", f"{printed.linear_ms}", f"{own.linear_ms:.0f}"),
            ("attention ms", f"{printed.attention_ms}", f"{own.attention_ms:.0f}"),
            ("share", f"{printed.share_percent} %", f"{100 * own.share:.0f} %"),
        ):
            if said != works_out:
                exact = f" ({100 * own.share:.1f} %)" if what == "share" else ""
                faults.append(f"{printed.tokens:,}: {what} printed {said}, works out at {works_out}{exact}")
    return faults


def input_differences(card: Card) -> list[str]:
    """Where the post's inputs are not the model's or the card's."""
    model, second, shipped = (preset(name) for name in (MODEL, SECOND_MODEL, "qwen3.5-35b-a3b"))
    peak, headline = card.peak_flops_per_s(), linear_params(model, "active-headline")
    return [
        f"rate: {POST_FLOPS_PER_S / 1e12:.0f} TFLOPS is the RX 9070 XT's clock; {card.title} has {peak / 1e12:.1f}",
        f"linear parameters a token: {headline:.2e} is the name's rounding, with embedding and head; "
        f"the layers hold {linear_params(model):,}",
        f"pairs: N²/2 for N(N+1)/2: crossover {crossover_tokens(model, 'active-headline', 'half-square'):,} under the "
        f"post's convention, {crossover_tokens(model):,} counted exactly",
        f"35B-A3B: the post's shape has {len(second.layers)} layers of attention and crosses at "
        f"{crossover_tokens(second, 'active-headline', 'half-square'):,}; the shipped one has "
        f"{len(shipped.layout)} in {len(shipped.layers)} and crosses at {crossover_tokens(shipped):,}",
    ]
