"""`eval.compare`: the command's own sweep, its records kept or not, and its figures as a table."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import attention
import attention.variants
import eval as prefillwall
import refmodel
from eval.cli import main
from eval.measure import comparison_run
from eval.measure.default_sweep import LAYOUTS, LENGTHS, usual_sweep
from eval.measure.progress import remarks
from eval.measure.records import file
from eval.measure.records.decode import from_json, to_json
from eval.measure.timing import Budget
from eval.report.comparison import Comparison
from refmodel.presets import preset
from tests.compiling import unoptimised
from tests.eval.report.synthetic_records import record

pytestmark = pytest.mark.usefixtures("fast_compile")

QUICK = Budget(0, 1, 1)


@pytest.fixture(scope="module")
def found():
    layouts = ["3*swa(5)+full", attention.make("swa", window=7)]
    with unoptimised():
        model = refmodel.load("tiny-dense")
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


def test_layouts_timed_in_parts_alone_are_compared_without_quality_too():
    found = prefillwall.compare("tiny-dense", ["3*swa(5)+full"], [17], whole=[], quality_tokens=0, budget=QUICK)
    assert {row["layout"]: row["attention_ms"] is None for row in found.rows()} == {
        "full": False, "3*swa(5)+full": False
    }  # fmt: skip


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
    with pytest.raises(ImportError, match=r"pip install -e '\.\[notebooks\]' in the checkout.*; rows\(\) needs"):
        found.to_pandas()


def test_kept_records_are_those_of_the_command_and_can_be_resumed(tmp_path, capsys):
    told = []
    prefillwall.compare("tiny-dense", ["swa(5)"], [17], out=tmp_path, budget=QUICK, on_record=told.append)
    kept = file.read(tmp_path / "records.jsonl")
    assert [from_json(json.loads(json.dumps(to_json(one)))) for one in told] == told == kept
    assert main(f"compare --model tiny-dense --layouts swa(5) --tokens 17 --out {tmp_path} --resume".split()) == 0
    assert file.read(tmp_path / "records.jsonl") == kept
    again = prefillwall.compare("tiny-dense", ["swa(5)"], [17], out=tmp_path, resume=True, on_record=told.append)
    assert list(again.records) == kept and len(told) == len(kept)
    with pytest.raises(ValueError, match="holds records of model 'tiny-dense', this run's is 'tiny-moe'"):
        prefillwall.compare("tiny-moe", ["swa(5)"], [17], out=tmp_path, resume=True)


def test_a_layout_added_by_a_resumed_run_is_in_its_table_and_in_those_after_it(tmp_path):
    """Its kernels were timed for the layout before, so that nothing of it is missing."""
    common = {"model": "tiny-dense", "tokens": [17], "whole": [], "out": tmp_path, "budget": QUICK}
    first = prefillwall.compare(layouts=["swa(5)+full"], **common)
    told = []
    added = prefillwall.compare(layouts=["3*swa(5)+full"], resume=True, on_record=told.append, **common)
    assert told == [] and [row["layout"] for row in first.rows()] == ["full", "swa(5)+full"]
    assert [row["layout"] for row in added.rows()] == ["full", "swa(5)+full", "3*swa(5)+full"]
    assert added.rows()[2]["attention_ms"] > 0 and added.rows()[2]["prefill_ms"] is None
    assert Comparison.read(tmp_path) == added


def test_a_folder_of_records_is_read_back(tmp_path, capsys):
    """Of the last run, and of the one before, whose file a line on stderr names."""
    first, second = (
        prefillwall.compare("tiny-dense", [layout], [17], out=tmp_path, budget=QUICK) for layout in ("swa(5)", "swa(7)")
    )
    (aside,) = tmp_path.glob("records.2*.jsonl")
    assert f"kept as {aside};" in capsys.readouterr().err
    assert Comparison.read(tmp_path) == second == Comparison.read(str(tmp_path / "records.jsonl"))
    assert Comparison.read(aside) == first and first.rows() != second.rows()
    assert Comparison.read(aside, other := preset("tiny-dense").with_layout("swa(3)")).config == other


CELL = record("prefill", "full", 5, model="tiny-dense")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "no records at .*/r.jsonl; the folder of a comparison is wanted"),
        ([], "no records of a comparison in"),
        ([{"model": "mine"}], "records of 'mine', whose shape is not known here; say which model"),
        ([{"model": "tiny-dense"}, {"model": "tiny-moe"}], "of several models, tiny-dense, tiny-moe"),
        ([CELL | {"kind": None}], "r.jsonl:1 is not a record of a comparison: kind must be one of"),
        ([{"model": "mine"}, CELL | {"kind": "kernel"}], "r.jsonl:2 is not a record of a comparison: kind must be one"),
        ([{k: v for k, v in CELL.items() if k != "device"}], "r.jsonl:1 is not .*: no device; a record of a comp"),
    ],
)
def test_what_cannot_be_read_back_is_one_line(lines, message, tmp_path):
    if lines is not None:
        whole = [line if "kind" in line else CELL | line for line in lines]
        (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in whole))
    with pytest.raises(ValueError, match=message) as caught:
        Comparison.read(tmp_path / "r.jsonl")
    assert "\n" not in str(caught.value)


def test_layers_apart_and_the_call_are_as_the_command_has_them(tmp_path, capsys):
    """One orchestration: the same cells, and records that name what measured them."""
    found = prefillwall.compare("tiny-dense", ["swa(5)"], [17], layers_apart=True, budget=QUICK)
    assert {(one.kind, one.layout, one.status) for one in found.records} == {
        ("apart", "full", "ok"), ("apart", "swa(5)", "ok")
    }  # fmt: skip
    assert {one.run.invocation for one in found.records} == {"eval.compare('tiny-dense', ['full', 'swa(5)'], [17])"}
    argv = ["compare", "--model", "tiny-dense", "--layouts", "swa(5)", "--tokens", "17", "--layers-apart"]
    assert main([*argv, "--out", str(tmp_path)]) == 0
    command = Comparison.read(tmp_path)
    assert [one.cell for one in command.records] == [one.cell for one in found.records]
    with pytest.raises(ValueError, match="layers apart are no model that reads a text"):
        prefillwall.compare("tiny-dense", ["swa(5)"], [17], layers_apart=True, quality_tokens=17)


def test_the_memory_share_is_asked_for_before_a_model_is_opened(monkeypatch):
    asked = []
    monkeypatch.setattr(comparison_run, "open_device", lambda device: asked.append(device) or False)
    monkeypatch.setattr(comparison_run, "find_checkpoint", lambda *_: pytest.fail("no device") if not asked else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prefillwall.compare("tiny-dense", ["swa(5)"], [17])
    assert asked == [None]


@dataclasses.dataclass(frozen=True)
class Wedge(attention.Variant):
    name = "wedge"
    window: int

    def pattern(self):
        return attention.SpanPattern(span=(self.window,), sink=(self.window,))


def test_a_variant_that_is_registered_nowhere_is_compared_and_not_read_back(tmp_path):
    found = prefillwall.compare("tiny-dense", [Wedge(5), [Wedge(7), *["full"] * 3]], [17], out=tmp_path, budget=QUICK)
    names = ["full", "wedge(5)", "wedge(7)+3*full"]
    assert [row["layout"] for row in found.rows()] == names and found.failures == ()
    assert [layout.counts[Wedge(7)] for (summary,) in [found.summaries] for layout in summary.layouts] == [0, 0, 1]
    again = prefillwall.compare("tiny-dense", [Wedge(5)], [17], out=tmp_path, resume=True, budget=QUICK)
    assert again.records == found.records
    missing = r"the layout 'wedge\(5\)' of the records: no attention variant .*; one of your own is known once"
    with pytest.raises(ValueError, match=missing) as caught:
        Comparison.read(tmp_path).rows()
    assert "\n" not in str(caught.value)
    with attention.variants.VARIANTS.temporarily(Wedge):
        assert Comparison.read(tmp_path).rows() == found.rows()


def test_a_terminal_is_told_how_long_it_takes_and_a_pipe_nothing(tmp_path, capsys, monkeypatch):
    arguments = {"model": "tiny-dense", "layouts": ["swa(5)"], "tokens": [17], "budget": QUICK, "out": tmp_path}
    prefillwall.compare(**arguments)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prefillwall.compare(**arguments, resume=True)
    said = capsys.readouterr()
    assert said.err.startswith("nothing is missing\n") and said.out == ""


def test_what_is_usual_fits_the_model():
    sweep = usual_sweep(refmodel.load("tiny-dense"))
    assert sweep.lengths == LENGTHS and sweep.quality_tokens == 0
    names = [layout.name for layout in sweep.layouts]
    assert "swa(1024)" in names and "5*swa(1024)+full" not in names  # 4 layers: the same
    assert sweep.whole == sweep.layouts and len(sweep.layouts) < len(LAYOUTS)
    assert set(sweep.left_out) == {"spans(256|1024|full,sinks=4)"}
    assert not usual_sweep(refmodel.load("tiny-dense"), ["swa(5)"], [17]).left_out


def test_remarks_name_every_layout_that_is_left_out_and_every_length_beyond_the_context():
    model = refmodel.load("tiny-dense")
    assert remarks(usual_sweep(model, ["swa(5)"], [17])) == []
    short_prompts = usual_sweep(model, tokens=[64, 128])
    (left_out,) = remarks(short_prompts)
    assert len(short_prompts.left_out) + len(short_prompts.layouts) == len(LAYOUTS) - 1  # two are one on 4 layers
    assert all(layout in left_out for layout in short_prompts.left_out) and "evict(h2o" in left_out
    assert "not for the heads of tiny-dense" in left_out and "a prompt of 64 tokens" in left_out
    late = "evict_after(knorm, budget=9)"
    (after,) = remarks(usual_sweep(model, ["swa(5)", late], [17], quality_tokens=13))
    assert after.startswith(f"{late}: a text is read in one pass") and "prefillwall retrieve and generate show" in after
    assert remarks(usual_sweep(model, [late], [17])) == []  # nothing is read
    short = dataclasses.replace(model, config=dataclasses.replace(model.config, max_positions=64))
    (beyond,) = remarks(usual_sweep(short, ["swa(5)"], [17, 128]))
    assert beyond.startswith("beyond the 64 tokens that tiny-dense is made for: 128;")
    with pytest.raises(ValueError, match=r"quality is read within the 64 tokens .* 65 are asked for"):
        usual_sweep(short, ["swa(5)"], [17], quality_tokens=65)
    trained = dataclasses.replace(short, weights="checkpoint")
    assert usual_sweep(trained, ["swa(5)"], [17]).quality_tokens == 0  # it has no tokenizer
    with pytest.raises(ValueError, match="tiny-dense has no tokenizer to read a text with"):
        usual_sweep(trained, ["swa(5)"], [17], quality_tokens=17)
    words = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    words.pre_tokenizer = Whitespace()
    assert usual_sweep(dataclasses.replace(trained, tokenizer=words), ["swa(5)"], [17]).quality_tokens == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layouts": "swa(5)"}, r"layouts is a list, got 'swa\(5\)'"),
        ({"tokens": 17}, "tokens is a list, got 17"),
        ({"layouts": ["swa(5"], "tokens": [17]}, "cannot read"),
        ({"model": "tiny-dens"}, "did you mean 'tiny-dense'"),
        ({"quality_tokens": 1, "tokens": [17]}, "at least 2 tokens of text, got 1"),
        ({"impl": "pallas"}, "pallas runs on GPUs, this is cpu; accepted here: auto, dense, blockwise"),
        ({"impl": "flash"}, "^no attention implementation 'flash'; accepted: [a-z, ]+$"),
    ],
)
def test_what_does_not_go_together_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        prefillwall.compare(**{"model": "tiny-dense", **arguments})
    assert "\n" not in str(caught.value)
