"""Which records of a run before are measured again, and that nothing else is."""

from __future__ import annotations

import dataclasses
import re

import pytest

import eval as prefillwall
from eval.cli import main
from eval.measure import comparison_run, sweep
from eval.measure.again import cells_again, is_disturbed, refuse_unplanned, refuse_words
from eval.measure.cells import MEASURES
from eval.measure.named_layout import LayoutNames
from eval.measure.plan import Sweep, Text
from eval.measure.plan import plan as cells_of
from eval.measure.records import file
from eval.measure.records.schema import Findings
from eval.measure.resume import layout_names
from eval.measure.timing import Budget, Timing
from eval.report.summary import summarise
from tests.eval.measure.swept import run_sweep, tiny_sweep

CALM, WILD = Timing((10.0, 11.0)), Timing((10.0, 20.0))
LAYOUTS = ("full", "swa(5, sinks=2)+full")
TEXT = Text("counting", "0" * 64, tuple(range(41)))


@pytest.fixture(scope="module")
def plan() -> Sweep:
    return tiny_sweep("swa(5,sinks=2)+full", TEXT)


@pytest.fixture
def measured(plan, tmp_path, monkeypatch):
    """A folder's records, wild where a window's whole prefill of 31 tokens is; what is measured afterwards is calm."""
    ms = {"prefill": WILD}

    def at_once(kind):
        def measure(_, layouts, tokens):
            return {one: Findings(timing=CALM if one.is_full or tokens < 31 else ms.get(kind, CALM)) for one in layouts}

        return measure

    monkeypatch.setattr(sweep, "MEASURES", {kind: at_once(kind) for kind in MEASURES})
    path = tmp_path / file.FILE_NAME
    list(run_sweep(plan, missing(plan, path), path))
    ms.clear()
    return path


def missing(plan, path, *again):
    return sweep.missing_cells(plan, path, sweep.run_of(plan), again)


def told(cells):
    return [(cell.kind, str(layout), cell.tokens) for cell in cells for layout in cell.layouts]


ALL_PREFILLS = [("prefill", layout, tokens) for tokens in (17, 31) for layout in LAYOUTS]


@pytest.mark.parametrize(
    ("words", "cells"),
    [
        ([], []),
        (["disturbed"], ALL_PREFILLS[2:]),  # full attention's calm one too: they are timed in turns
        (["prefill"], ALL_PREFILLS),
        (["prefill 31"], ALL_PREFILLS[2:]),
        (["prefill  swa(5,sinks=2)+full"], ALL_PREFILLS[1::2]),
        (["prefill swa(5, sinks=2)+full 31", "disturbed", "linear full 17"],
         [("linear", "full", 17), *ALL_PREFILLS[2:]]),
        (["prefill swa(5, sinks=2)+full 31"], ALL_PREFILLS[3:]),
        (["attention swa(5,sinks=2) 17"], [("attention", "swa(5, sinks=2)", 17)]),
    ],
)  # fmt: skip
def test_what_is_named_is_measured_again_and_nothing_else(plan, measured, words, cells):
    assert told(missing(plan, measured, *words)) == cells


def test_the_new_record_counts_and_the_others_stay(plan, measured):
    before = file.read(measured)
    again = list(run_sweep(plan, missing(plan, measured, "disturbed"), measured))
    assert file.read(measured) == [*before, *again] and len(again) == 2
    assert again[1].timing == CALM and is_disturbed(before[-3]) and before[-3].cell == again[1].cell
    assert missing(plan, measured, "disturbed") == []  # the newest is calm
    (summary,) = summarise(file.read(measured), plan.model.config)
    assert summary.of(LAYOUTS[1])[-1].whole_ms.median == CALM.median_ms


def test_what_failed_when_it_was_measured_again_is_missing(plan, measured, monkeypatch):
    """The newest record counts, also one that holds no figure."""
    monkeypatch.setattr(sweep, "MEASURES", dict.fromkeys(MEASURES, lambda *_: 1 / 0))
    (failed,) = run_sweep(plan, missing(plan, measured, "prefill full 17"), measured)
    assert failed.status == "failed" and told(missing(plan, measured)) == [("prefill", "full", 17)]


def test_layers_apart_are_disturbed_where_one_of_their_programs_is(measured):
    record = file.read(measured)[0]
    apart = dataclasses.replace(record, kind="apart", timing=WILD, parts={"ends": CALM, "dense full": CALM})
    assert not is_disturbed(apart)
    assert is_disturbed(dataclasses.replace(apart, parts={"ends": CALM, "dense full": WILD}))
    assert not is_disturbed(dataclasses.replace(record, timing=None))


def test_what_is_timed_in_turns_is_disturbed_as_one(plan, measured):
    full, other, *longer = (one for one in file.read(measured) if one.kind == "prefill")
    names = LayoutNames(plan.model.config, plan.layouts)
    single, wild = dataclasses.replace(other, timing=Timing((10.0,))), dataclasses.replace(full, timing=WILD)
    calm = [dataclasses.replace(one, timing=CALM) for one in longer]
    assert cells_again(["disturbed"], [full, single, *calm], names) == frozenset()
    assert cells_again(["disturbed"], [wild, single, *calm], names) == {wild.cell, single.cell}
    apart = [dataclasses.replace(one, kind="apart") for one in (wild, other)]
    assert cells_again(["disturbed"], apart, names) == {apart[0].cell}  # by itself


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("prefill swa(7) 31", r"measures no 'prefill swa\(7\) 31'; it measures prefill full 17, prefill swa"),
        ("prefill full 19", "measures no 'prefill full 19'; it measures prefill full 17, prefill swa"),
        ("apart", "measures no 'apart'; it measures linear, attention, prefill, quality$"),
        ("prefill swaa(7)", "cannot read the layout 'swaa.7.'.* no attention variant 'swaa' .did you mean 'swa'"),
    ],
)
def test_what_is_not_planned_is_one_line(plan, word, message):
    with pytest.raises(ValueError, match=message) as refused:
        refuse_unplanned(["disturbed", "linear", word], cells_of(plan), layout_names(plan))
    assert "\n" not in str(refused.value)


def test_what_is_planned_and_not_there_is_missing(plan, measured, tmp_path):
    refuse_unplanned(["prefill 31", "disturbed"], cells_of(plan), layout_names(plan))
    assert missing(plan, tmp_path / "none", "prefill full 17", "linear") == cells_of(plan)
    measured.write_bytes(b"".join(line for line in measured.read_bytes().splitlines(True) if b'"prefill"' not in line))
    assert told(missing(plan, measured, "prefill full 17")) == ALL_PREFILLS


def test_of_code_that_changed_nothing_is_set_aside_for_words_that_are_refused(plan, measured, monkeypatch):
    """What is named of the plan is measured, though the records of it are other code's; what is not names no loss."""
    monkeypatch.setattr(comparison_run, "planned", lambda _: plan)
    monkeypatch.setattr(sweep, "code_digest", lambda: "of later code")
    before = measured.read_bytes()

    def run(*again):
        request = comparison_run.ComparisonRequest(model="tiny-dense")
        return comparison_run.run_comparison(
            request, measured.parent, resume=True, again=again, invocation=lambda _: "it"
        )

    with pytest.raises(ValueError, match="measures no 'prefill 19'"):
        run("linear", "prefill 19")
    assert measured.read_bytes() == before and list(measured.parent.glob("records.*")) == [measured]
    assert {one.run.code_digest for one in run("linear", "prefill").records} == {"of later code"}
    assert len(list(measured.parent.glob("records.*"))) == 2


@pytest.mark.parametrize(
    "words", ["disturbed", None, 5, {"linear"}, [5], ["prefil full 17"], ["disturbed full"], [""], ["all"]]
)
def test_words_that_are_none_are_refused_before_a_model_is_read(words, monkeypatch):
    with pytest.raises(ValueError, match=r"again is a list of texts|no kind of record to measure again"):
        refuse_words(words)
    monkeypatch.setattr(comparison_run, "planned", lambda _: pytest.fail("a model is read"))
    with pytest.raises(ValueError, match=r"again is a list of texts|no kind of record to measure again"):
        prefillwall.compare("tiny-dense", again=words)


def test_nothing_is_there_to_be_measured_again_without_resume(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(comparison_run, "planned", lambda _: pytest.fail("a model is read"))
    assert main(["compare", "--model", "tiny-dense", "--out", str(tmp_path), "--again", "disturbed"]) == 2
    assert "again (--again) measures again some of what resume (--resume) keeps" in capsys.readouterr().err


def test_the_command_measures_again_what_it_is_told_to(tmp_path, capsys, fast_compile):
    asked = {"layouts": ["swa(5)"], "tokens": [17], "quality_tokens": 0, "budget": Budget(0, 1, 1), "out": tmp_path}
    assert prefillwall.compare("tiny-dense", **asked).failures == ()
    words = ["--layouts", "swa(5)", "--tokens", "17", "--samples", "1", "--quality-tokens", "0", "--out", str(tmp_path)]
    again = ["--resume", "--again", "prefill swa(5) 17"]
    assert main(["compare", "--model", "tiny-dense", *words, *again]) == 0
    said = capsys.readouterr().out
    assert "again where samples spread by more than 25 %: at most 20 s a kind and length\n" in said
    assert "\nprefill swa(5) 17: " in said and "linear full" not in said
    kept = file.read(tmp_path / file.FILE_NAME)
    assert [(one.kind, one.layout) for one in kept[-2:]] == [("prefill", "swa(5)")] * 2
    made = re.findall(r"Make it again: <code>(prefillwall compare .*?)</code>", (tmp_path / "report.html").read_text())
    assert {one.partition(" --resume")[2] for one in made} == {"", " --again prefill"}  # the call measured the others
