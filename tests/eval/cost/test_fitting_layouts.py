"""Which layouts a model can have: by the heads that their spans are for, and by its layers where a file names them."""

from __future__ import annotations

import json

from eval.cost.fitting_layouts import fitting_layouts
from refmodel.presets import PRESETS, preset


def test_layouts_are_told_apart_in_their_order():
    model = preset("smollm2-135m")  # 30 layers, 9 query heads, 3 key-value heads
    fitting, left_out = fitting_layouts(model, ["swa(3)", "3*swa(5)+full", "spans(2|3|5|7)", "2*swa(5)+full"])
    assert list(fitting) == ["swa(3)", "3*swa(5)+full", "2*swa(5)+full"] and left_out == ["spans(2|3|5|7)"]
    assert fitting["swa(3)"] == model.with_layout("swa(3)")


def test_a_model_that_cannot_run_takes_layouts_too(tmp_path):
    model = next(one for one in PRESETS.values() if one.cannot_run)
    too_long = tmp_path / "one_more.json"
    too_long.write_text(json.dumps(["full"] * (len(model.layout) + 1)))
    found = fitting_layouts(model, ["full", str(too_long)])
    assert found == ({"full": model.with_layout("full")}, [str(too_long)]), model.name
