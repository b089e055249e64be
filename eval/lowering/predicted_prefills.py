"""What prefills that compiled would take on the card they were compiled for, where others measured on it."""

from __future__ import annotations

from collections.abc import Iterable

from eval.cost.cards import card
from eval.cost.flops.formats import Storage
from eval.cost.prediction import Predicted, predict_prefill
from eval.cost.published import PUBLISHED_CARD
from eval.cost.roofline import Assumptions
from eval.lowering.code_bounds import code_bounds, occupancies
from eval.lowering.programs import ModelProgram
from eval.lowering.report import QUANTISED, Result
from eval.lowering.target import Target


def predicted_prefills(results: Iterable[Result], chosen: Target) -> dict[str, list[Predicted]]:
    """Of each prefill that compiled, with its packed weights, else with those of bf16 and of 4.5 bits; by title."""
    made = {}
    for result in results:
        program = result.compiled.program
        if isinstance(program, ModelProgram) and program.kind == "prefill" and chosen.card == PUBLISHED_CARD:
            bounds, waves = code_bounds(result.kernels, chosen), occupancies(result.kernels, chosen)
            for weights in [program.weights] if program.weights else ["bf16", QUANTISED]:
                under = Assumptions(Storage(weights))
                title = f"{program.config.name} {program.layout or 'as it is'} {program.tokens:,} tokens, {weights}"
                made[title] = predict_prefill(
                    program.config, program.tokens, card(chosen.card), under, bounds, waves=waves
                )
    return made
