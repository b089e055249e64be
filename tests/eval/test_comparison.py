"""`eval.compare`: the command's own sweep, its records kept or not, and its figures as a table."""

from __future__ import annotations

import json
import sys

import pytest

import attention
import eval as prefillwall
import refmodel
from eval import records
from eval.cli import main
from eval.plan import LAYOUTS, LENGTHS, usual_sweep
from eval.timing import Budget

pytestmark = pytest.mark.usefixtures("fast_compile")

QUICK = Budget(0, 1, 1)


@pytest.fixture(scope="module")
def found():
    model = refmodel.load("tiny-dense")
    layouts = ["3*swa(5)+full", attention.make("swa", window=7)]
    return prefillwall.compare(model, layouts, [17, 31], quality_tokens=31, whole=["swa(7)"], budget=QUICK)


def test_a_row_for_each_layout_and_length(found):
    rows = found.rows()
    assert sorted((row["tokens"], row["layout"]) for row in rows) == [
        (tokens, layout) for tokens in (17, 31) for layout in ("3*swa(5)+full", "full", "swa(7)")
    ]
    assert found.failures == ()
    by_cell = {(row["layout"], row["tokens"]): row for row in rows}
    parts, whole = by_cell["3*swa(5)+full", 31], by_cell["swa(7)", 31]
    assert parts["prefill_ms"] is None and parts["attention_ms"] > 0 and parts["linear_ms"] == whole["linear_ms"]
    assert whole["prefill_ms_low"] <= whole["prefill_ms"] <= whole["prefill_ms_high"]
    config = refmodel.load("tiny-dense").config
    counted = prefillwall.prefill_flops(config.with_layout("swa(7)"), 31)
    assert whole["useful_flops"] == sum(counted.values()) and whole["attention_useful_flops"] == counted["attention"]
    assert whole["useful_reduction"] > 1 and whole["kl_nats"] > 1e-4
    assert by_cell["swa(7)", 17]["kl_nats"] is None


def test_the_table_of_pandas_has_the_same(found):
    pandas = pytest.importorskip("pandas")
    frame = found.to_pandas()
    assert list(frame.columns) == list(found.rows()[0])
    assert len(frame) == len(found.rows())
    assert frame.loc[frame.layout == "full", "attention_ms"].tolist() == [
        row["attention_ms"] for row in found.rows() if row["layout"] == "full"
    ]
    assert pandas.isna(frame.loc[frame.tokens == 17, "kl_nats"]).all()


def test_without_pandas_one_line_says_what_to_install(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'prefillwall\[notebooks\]'; rows\(\) needs nothing"):
        found.to_pandas()


def test_kept_records_are_those_of_the_command_and_can_be_resumed(tmp_path, capsys):
    told = []
    prefillwall.compare("tiny-dense", ["swa(5)"], [17], out=tmp_path, budget=QUICK, on_record=told.append)
    kept = records.read(tmp_path / "records.jsonl")
    assert json.loads(json.dumps(told)) == kept
    argv = ["compare", "--model", "tiny-dense", "--layouts", "swa(5)", "--tokens", "17", "--out", str(tmp_path)]
    assert main([*argv, "--resume"]) == 0
    assert records.read(tmp_path / "records.jsonl") == kept
    again = prefillwall.compare("tiny-dense", ["swa(5)"], [17], out=tmp_path, resume=True, on_record=told.append)
    assert list(again.records) == kept and len(told) == len(kept)
    with pytest.raises(ValueError, match="holds records of model 'tiny-dense', this run's is 'tiny-moe'"):
        prefillwall.compare("tiny-moe", ["swa(5)"], [17], out=tmp_path, resume=True)


def test_what_is_usual_fits_the_model():
    sweep = usual_sweep(refmodel.load("tiny-dense"))
    assert sweep.lengths == LENGTHS and sweep.quality_tokens == 0
    assert "swa(1024)" in sweep.layouts and "5*swa(1024)+full" not in sweep.layouts  # 4 layers
    assert set(sweep.whole) < set(sweep.layouts) and len(sweep.layouts) < len(LAYOUTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layouts": "swa(5)"}, r"layouts is a list, got 'swa\(5\)'"),
        ({"tokens": 17}, "tokens is a list, got 17"),
        ({"layouts": ["swa(5"], "tokens": [17]}, "cannot read"),
        ({"model": "tiny-dens"}, "did you mean 'tiny-dense'"),
        ({"quality_tokens": 1, "tokens": [17]}, "at least 2 tokens of text, got 1"),
    ],
)
def test_what_does_not_go_together_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        prefillwall.compare(**{"model": "tiny-dense", **arguments})
    assert "\n" not in str(caught.value)
