"""What compiled loops say of a prediction, and the table that it is printed in."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console

from eval.cost.cards import card
from eval.cost.prediction import Predicted, Range, predict_prefill
from eval.cost.roofline import Assumptions
from eval.lowering.code_bounds import code_bounds, occupancies
from eval.lowering.loops import Code
from eval.lowering.report import prediction_table
from eval.lowering.target import target
from eval.report.number_format import duration
from refmodel.presets import preset
from tests.eval.lowering.test_verdict import SOUND

R9700 = card("r9700")
MODEL = preset("qwen3-30b-a3b").with_layout("5*swa(1024)+full")


def test_the_bound_is_the_matrix_share_of_the_cycles() -> None:
    # 64 matrix instructions of 16 cycles beside 341 vector ones: 1024 / 1365
    loop = Code(500, {"matrix": 64, "vector": 341, "scalar": 95}, {})
    lighter = dataclasses.replace(SOUND, loop=Code(100, {"matrix": 8, "vector": 80}, {}))
    heavier = dataclasses.replace(SOUND, loop=loop)
    other = dataclasses.replace(SOUND, component="router", loop=Code(100, {"vector": 80}, {}))
    bounds = code_bounds([lighter, heavier, other], target("gfx1201"))
    assert bounds == {"attention": pytest.approx(1024 / 1365)}
    (found,) = occupancies([lighter, heavier, other], target("gfx1201")).values()
    assert (found.waves, found.issue_cycles) == (SOUND.waves, 1365)
    assert found.hidden_cycles == 5 * 1365  # five waves issue while the sixth waits


def test_occupancy_is_said_and_changes_no_figure() -> None:
    waves = occupancies([SOUND], target("gfx1201"))
    bare, said = (predict_prefill(MODEL, 4096, R9700, Assumptions(), {}, waves=given) for given in (None, waves))
    assert [one.ms for one in bare] == [one.ms for one in said]
    rows = {row[0]: row for row in prediction_table(said, "Predicted prefill").rows}
    assert rows["attention"][-2:] == ("6", f"{waves['attention'].hidden_cycles:,} cycles") and rows["head"][-1] == "-"


def test_each_figure_stands_under_its_heading() -> None:
    parts = [Predicted(name, ms, Range(2 * ms, 3 * ms, 7 * ms), "none") for name, ms in (("head", 11), ("router", 13))]
    printed = io.StringIO()
    Console(file=printed, width=180).print(prediction_table(parts, "Predicted prefill"))
    (heads,) = (line.split() for line in printed.getvalue().splitlines() if "component" in line)
    assert heads[:5] == ["component", "floor", "predicted", "from", "to"]
    for name, ms in (("head", 11), ("router", 13), ("total", 24)):
        (line,) = (line for line in printed.getvalue().splitlines() if name in line)
        assert re.findall(r"\d+\.?\d* ms", line) == [duration(times * ms) for times in (1, 3, 2, 7)]


def test_the_table_calls_itself_a_prediction() -> None:
    predicted = predict_prefill(MODEL, 4096, R9700, Assumptions(), {})
    table = prediction_table(predicted, "Predicted prefill")
    assert "not measured" in table.note and table.rows[-1][0] == "total"
