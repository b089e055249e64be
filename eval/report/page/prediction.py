"""What the layouts would take on a Radeon AI PRO R9700: predicted, with an interval and what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.cost.cards import CARDS
from eval.cost.fitting_layouts import fitting_layouts
from eval.cost.prediction import Predicted, efficiencies, evidence_lines, predict_prefill
from eval.cost.published import published
from eval.cost.validation import Prediction, summarise, validate
from eval.report.floor_table import FLOOR_CARD, FLOOR_MODEL, FLOOR_UNDER
from eval.report.number_format import count, duration, percent
from eval.report.page.dots import Dot, dot_panel
from eval.report.page.figure import Context, Figure
from eval.report.page.series import Series
from eval.report.table import Table
from refmodel.presets import preset

LENGTHS = (16_384, 65_536)
EDGES = ("low", "middle", "high")
BOUNDS: Mapping[str, float] = {}
"""Nothing was compiled for the report: `prefillwall lower` adds what the compiled kernels can reach at most."""


@dataclass(frozen=True)
class Prefill:
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


def evidence() -> list[Prediction]:
    """Published rates on the card beside what the same form predicts of them."""
    return validate(published(), CARDS[FLOOR_CARD])[0]


def predictions(
    layouts: Iterable[str], rests_on: Sequence[Prediction], lengths: Sequence[int] = LENGTHS
) -> tuple[list[Prefill], list[str]]:
    """Of `FLOOR_MODEL` on `FLOOR_CARD`, and the layouts that do not fit its layers."""
    config, card = preset(FLOOR_MODEL), CARDS[FLOOR_CARD]
    attained = efficiencies(rests_on, card)
    fitting, left_out = fitting_layouts(config, layouts)
    made = []
    for layout, model in fitting.items():
        for tokens in lengths:
            parts = predict_prefill(model, tokens, card, FLOOR_UNDER, BOUNDS, attained)
            made.append(Prefill(layout, tokens, tuple(parts)))
    return made, left_out


def prediction_figure(context: Context, made: Sequence[Prefill], left_out: Sequence[str]) -> Figure:
    """A panel for each length, a row for each layout."""
    panels = []
    for tokens in sorted({one.tokens for one in made}):
        dots = [_dot(context.series[one.layout], one) for one in made if one.tokens == tokens]
        title = f"{count(tokens)} tokens"
        panels.append(
            dot_panel(
                title, dots, "time of a whole prefill, predicted", f"Predicted prefill of {title}, a row a layout."
            )
        )
    card, rests_on = CARDS[FLOOR_CARD], evidence_lines(made[0].components)
    note = (
        f"A prediction, not a measurement: nothing ran on this card. {FLOOR_MODEL}, weights of 4.5 bit, bf16 "
        f"arithmetic, on a {card.title}. The tick is the floor: FLOPs over peak or bytes over bandwidth. The dot is "
        "the prediction, on its interval: the spread of the efficiencies that published measurements on this card "
        f"imply, all components off together. Evidence: {'; '.join(rests_on)}."
    )
    if left_out:
        note += f" Left out, for they do not fit the model's layers: {', '.join(left_out)}."
    example = next((one.layout for one in made if one.layout != "full"), "full")
    related = (
        f"prefillwall lower --model {FLOOR_MODEL} --layout '{example}' --tokens {LENGTHS[0]}",
        "prefillwall validate",
    )
    title = f"Predicted: {FLOOR_MODEL} on a {card.title}"
    return Figure("prediction", title, tuple(panels), note, context.redraw, related=related)


def prediction_table(made: Iterable[Prefill]) -> Table:
    """The numbers of the figure."""
    rows = [
        (one.layout, count(one.tokens), *map(duration, (one.floor_ms, *(one.total_ms(edge) for edge in EDGES))),
         duration(one.attention_ms), percent(one.attention_ms / one.total_ms("middle")))
        for one in made
    ]  # fmt: skip
    header = ("layout", "tokens", "floor", "from", "predicted", "to", "attention", "share")
    return Table(
        "Predicted prefill", header, tuple(rows), "Predicted, not measured. Attention: with the choice of keys."
    )


def evidence_table(rests_on: Sequence[Prediction]) -> Table:
    """How far the same form of prediction was off from published rates, by family of backends."""
    rows = [
        (one.family, "with windows" if one.windows else "full attention", count(one.count), percent(one.median_error),
         percent(one.largest_error))
        for one in summarise(rests_on)
    ]  # fmt: skip
    header = ("backend", "models", "rows", "median error", "largest error")
    note = "Published prefill rates, predicted from shorter rows and other models of the same setup, against what was \
published: `prefillwall validate` prints every row."
    return Table("Evidence for the prediction", header, tuple(rows), note, words=(0, 1))


def _dot(series: Series, one: Prefill) -> Dot:
    low, middle, high = (one.total_ms(edge) for edge in EDGES)
    tip = (f"predicted {duration(middle)}, {duration(low)} to {duration(high)}", f"floor {duration(one.floor_ms)}",
           f"attention {duration(one.attention_ms)}, {percent(one.attention_ms / middle)}")  # fmt: skip
    return Dot(series, series.label, middle, low, high, one.floor_ms, tip)
