"""What a terminal shows of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from eval.cost.cards import Card
from eval.report.comparison import Comparison
from eval.report.on_card import on_card
from eval.report.run_facts import cautions, crossovers, heading, layouts_of
from eval.report.tables import (
    ATTENTION_GAIN,
    FLOPS,
    QUALITY,
    SPEED_AND_QUALITY,
    TIME,
    UTILISATION,
    WHOLE_GAIN,
    apart_table,
    break_even_table,
    crossover_table,
    failure_table,
)


def render_terminal(compared: Comparison, console: Console, *, cards: Sequence[Card] = ()) -> None:
    """The tables that answer the four questions: cost, what is gained, where it crosses, what it is worth.

    Of times, FLOPs and gains those at the longest prompt: all lengths would be some hundred lines.
    """
    for summary in compared.summaries:
        longest = summary.at_longest()
        tables = (
            SPEED_AND_QUALITY.of(longest), TIME.of(longest), FLOPS.of(longest), WHOLE_GAIN.of(longest),
            ATTENTION_GAIN.of(longest),
            crossover_table(summary, *crossovers(summary)), break_even_table(summary), UTILISATION.of(longest),
            apart_table(summary), QUALITY.of(summary), failure_table(summary),
        )  # fmt: skip
        console.print(f"\n{heading(summary)}", style="bold", highlight=False)
        for caution in cautions(summary):
            console.print(f"{caution}\n", highlight=False)
        for table in filter(None, tables):
            console.print(table.without_constant("tokens", "linear"))
    for card in cards:
        of = on_card(compared.config, layouts_of(compared.summaries), card)
        console.print(of.floor)
    console.print("Every length, memory, and what was read of quality are in the report.", highlight=False)
