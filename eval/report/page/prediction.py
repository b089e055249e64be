"""A prediction for a card that was asked for, with its interval and what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attention.full import FULL
from eval.cost.family_errors import summarise
from eval.cost.prediction import evidence_lines
from eval.cost.validation import Prediction
from eval.report.number_format import count, duration, percent
from eval.report.on_card import PREDICTED_LENGTHS, OnCard, PredictedPrefill
from eval.report.page.dot_plot import Dot, dot_panel
from eval.report.page.figure import Context, Figure
from eval.report.page.html_tables import table_html
from eval.report.page.markup import Markup, join
from eval.report.page.series import Series
from eval.report.table import Table

EDGES = ("low", "middle", "high")


def card_section(context: Context, of: OnCard, prefix: str) -> tuple[str, Markup]:
    """Title and content: the prediction, where there is one, and the floor."""
    floor = table_html(of.floor, context.series, f"{prefix}floor-table")
    if not of.predicted:
        return of.floor.title, floor
    figure = prediction_figure(context, of)
    numbers = table_html(prediction_table(of.predicted), context.series, f"{prefix}predictions")
    rests_on = table_html(evidence_table(of.evidence), {}, f"{prefix}evidence")
    return figure.title, join([figure.html(prefix), numbers, rests_on, floor])


def prediction_figure(context: Context, of: OnCard) -> Figure:
    """A panel for each length, a row for each layout."""
    made, card, panels = of.predicted, of.card, []
    for tokens in sorted({one.tokens for one in made}):
        dots = [_dot(context.series[one.layout], one) for one in made if one.tokens == tokens]
        title = f"{count(tokens)} tokens"
        panels.append(
            dot_panel(
                title, dots, "time of a whole prefill, predicted", f"Predicted prefill of {title}, a row a layout."
            )
        )
    stored = "in bf16" if of.under.storage.weights == "bf16" else "of 4.5 bit"
    note = (
        f"A prediction, not a measurement: nothing ran on this card. {of.config.name}, weights {stored}, bf16 "
        f"arithmetic, on a {card.title}. The tick is the floor: FLOPs over peak or bytes over bandwidth. The dot is "
        "the prediction, on its interval: the spread of the efficiencies that published measurements on this card "
        f"imply, all components off together. Evidence: {'; '.join(evidence_lines(made[0].components))}."
    )
    example = next((one.layout for one in made if one.layout != FULL), FULL)
    related = (
        f"prefillwall lower --model {context.model} --layout '{example}' --tokens {PREDICTED_LENGTHS[0]}",
        "prefillwall validate",
    )
    title = f"Predicted: {of.config.name} on a {card.title}"
    return Figure("prediction", title, tuple(panels), note, context.redraw, related=related)


def prediction_table(made: Iterable[PredictedPrefill]) -> Table:
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
        (one.family, one.scheme, count(one.count), count(one.unknown), percent(one.median_error), percent(one.coverage))
        for one in summarise(rests_on)
    ]
    header = ("rows", "left out", "number", "not known", "median error", "intervals that cover")
    note = "Published rates, each predicted without what was left out, against what was published: `prefillwall \
validate` prints every row."
    return Table("Evidence for the prediction", header, tuple(rows), note, words=(0, 1))


def _dot(series: Series, one: PredictedPrefill) -> Dot:
    low, middle, high = (one.total_ms(edge) for edge in EDGES)
    tip = (f"predicted {duration(middle)}, {duration(low)} to {duration(high)}", f"floor {duration(one.floor_ms)}",
           f"attention {duration(one.attention_ms)}, {percent(one.attention_ms / middle)}")  # fmt: skip
    return Dot(series, series.label, middle, low, high, one.floor_ms, tip)
