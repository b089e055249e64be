"""A whole small sweep: every record, resumption, and cells that fail."""

from __future__ import annotations

import dataclasses

import pytest

from attention.backends.dense import Dense
from attention.backends.registry import BACKENDS
from attention.layout import parse_variant
from eval.cost.flops.closed_form import attention_flops
from eval.measure import cells, sweep, timing
from eval.measure.cells import MEASURES
from eval.measure.in_turns import Failure
from eval.measure.named_layout import NamedLayout, named_layouts
from eval.measure.plan import Cell, Sweep, Text
from eval.measure.plan import plan as cells_of
from eval.measure.records import file
from eval.measure.records.schema import Findings
from eval.report.summary import summarise
from tests.eval.measure.swept import missing_cells, run_sweep, tiny_sweep

pytestmark = pytest.mark.usefixtures("fast_compile")

TEXT = Text("counting", "0" * 64, tuple(i % 257 for i in range(101)))


@pytest.fixture(scope="module")
def plan() -> Sweep:
    return tiny_sweep("swa(5)+full", TEXT)


def test_every_cell_is_measured_and_resumed(plan, tmp_path):
    path, started = tmp_path / "records.jsonl", []
    found = list(run_sweep(plan, missing_cells(plan, path), path, on_start=started.append))
    assert [(r.kind, r.layout, r.tokens) for r in found] == [
        (kind, layout, tokens)
        for tokens in (17, 31)
        for kind, layout in (
            ("linear", "full"), ("attention", "full"), ("attention", "swa(5)"),
            ("prefill", "full"), ("prefill", "swa(5)+full"),
        )
    ] + [("quality", "full", 29), ("quality", "swa(5)+full", 29)]  # fmt: skip
    assert {r.status for r in found} == {"ok"}, found
    assert file.read(path) == found
    assert len(started) == len(cells_of(plan))

    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[4:-1]))  # as if it had been killed
    again = list(run_sweep(plan, missing_cells(plan, path), path))
    assert [(r.kind, r.layout) for r in again] == [
        ("attention", "swa(5)"), ("prefill", "full"), ("quality", "swa(5)+full"),
    ]  # fmt: skip


def test_layers_apart_read_no_text(plan):
    with pytest.raises(ValueError, match="layers apart are no model that reads a text"):
        dataclasses.replace(plan, layers_apart=True)
    assert not dataclasses.replace(plan, layers_apart=True, quality_tokens=0).quality_tokens


def test_records_hold_what_they_say(plan, tmp_path):
    found = run_sweep(plan, cells_of(plan), tmp_path / "r", invocation="prefillwall compare --seed 7")
    by_cell = {(r.kind, r.layout, r.tokens): r for r in found}
    assert {r.run.invocation for r in by_cell.values()} == {"prefillwall compare --seed 7"}
    whole = by_cell["prefill", "swa(5)+full", 31]
    assert whole.flops.useful["attention"] < by_cell["prefill", "full", 31].flops.useful["attention"]
    assert "attention" not in by_cell["linear", "full", 31].flops.useful
    assert by_cell["quality", "full", 29].quality.kl_nats == pytest.approx(0, abs=1e-6)
    assert by_cell["quality", "swa(5)+full", 29].quality.kl_nats > 1e-4
    assert whole.run.environment.jax and whole.memory.temp_bytes > 0


def test_one_failing_cell_is_recorded_and_the_sweep_goes_on(plan, tmp_path, monkeypatch):
    def boom(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nsecond line")

    monkeypatch.setattr(sweep, "MEASURES", {**MEASURES, "linear": boom})
    short, path = dataclasses.replace(plan, lengths=(17,), quality_tokens=0), tmp_path / "r"
    found = list(run_sweep(short, cells_of(short), path))
    assert [r.status for r in found] == ["out-of-memory", "ok", "ok", "ok", "ok"]
    assert found[0].error == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    assert found[0].layouts == ("full", "swa(5)+full")  # what shares it is known all the same
    again = list(run_sweep(short, missing_cells(short, path), path))
    assert [r.kind for r in again] == ["linear"]  # what failed is tried again


def test_cells_without_room_are_out_of_memory_and_the_others_are_measured(plan, tmp_path, monkeypatch):
    parts, path = dataclasses.replace(plan, whole=(), quality_tokens=0), tmp_path / "r"
    linear = [r for r in run_sweep(parts, cells_of(parts), path) if r.kind == "linear"]
    fits = {r.tokens: r.memory for r in linear}
    room = fits[17].temp_bytes + fits[17].output_bytes
    assert room < fits[31].temp_bytes + fits[31].output_bytes
    monkeypatch.setattr(timing, "free_device_bytes", lambda: room)
    found = list(run_sweep(parts, cells_of(parts), tmp_path / "again"))
    (failed,) = (r for r in found if r.status != "ok")
    assert (failed.kind, failed.tokens, failed.status) == ("linear", 31, "out-of-memory")
    assert "beside its arguments" in failed.error and found[-1].kind == "attention"


@pytest.mark.parametrize("kind", MEASURES)
def test_every_kind_of_cell_asks_for_its_room(plan, kind, monkeypatch):
    monkeypatch.setattr(timing, "free_device_bytes", lambda: 0)
    layout = plan.full if kind != "attention" else NamedLayout.of("full", 1)
    (found,) = sweep._guarded(Cell(kind, 31, {layout: 1}), plan).values()
    assert found.status == "out-of-memory" and "beside its arguments" in found.error


@pytest.mark.parametrize(("kind", "name"), [("prefill", "swa(5)+full"), ("attention", "full"), ("prefill", "full")])
@pytest.mark.parametrize("where", ["compile", "run", "count"])
def test_what_one_program_of_a_cell_dies_of_leaves_the_others_in_turns(plan, monkeypatch, kind, name, where):
    """None of the others is compiled or run once more."""
    (cell,) = (one for one in cells_of(plan) if (one.kind, one.tokens) == (kind, 17))
    compiled, runs, of_layouts = [], [], iter(cell.layouts)

    class Dies(timing.Program):
        def run_ms(self):
            runs.append(self)
            if where == "run" and self is compiled[place]:
                raise RuntimeError("dies\nhere")
            return 7.0

    place = [str(layout) for layout in cell.layouts].index(name)

    def compile_program(*_, **__):
        compiled.append(None if where == "compile" and len(compiled) == place else Dies(None, (), 1.0, 2.0))
        if compiled[-1] is None:
            raise RuntimeError("dies\nhere")
        return compiled[-1]

    def executed(_, layout, __):
        if where == "count" and str(layout) == name:
            raise RuntimeError("dies\nhere")
        return {}

    monkeypatch.setattr(cells, "compile_program", compile_program)
    monkeypatch.setattr(cells, "_executed_from", executed)
    found = sweep._guarded(cell, plan)
    assert list(found) == list(of_layouts) and len(compiled) == len(cell.layouts)
    for layout, one in found.items():
        if str(layout) == name:
            assert one == Failure("failed", "RuntimeError: dies")
        else:
            assert set(one.timing.samples_ms) == {7.0} and one.timing.warmup_ms == 7.0


def test_a_layout_that_a_resumed_run_adds_has_its_rows_though_none_of_its_cells_is_missing(plan, tmp_path):
    """`swa(5)+full` gave both kernels of `3*swa(5)+full`; the lengths that were measured before stay in the report."""
    path, model = tmp_path / "records.jsonl", plan.model
    parts = dataclasses.replace(plan, whole=(), quality_tokens=0)
    before = list(run_sweep(parts, cells_of(parts), path))
    added = dataclasses.replace(parts, layouts=named_layouts(["3*swa(5)+full"], 4), lengths=(31,))
    assert missing_cells(added, path) == []
    assert list(run_sweep(added, [], path)) == []
    kept = file.latest(file.read(path))
    assert [dataclasses.replace(r, layouts=()) for r in kept] == [
        dataclasses.replace(r, layouts=()) for r in before
    ]  # as they were measured
    (summary,) = summarise(kept, model.config)
    assert [layout.name for layout in summary.layouts] == ["full", "swa(5)+full", "3*swa(5)+full"]
    assert not summary.unnamed_variants
    for row in summary.of("3*swa(5)+full"):
        layers = {r.layout: r.timing.median_ms for r in kept if (r.kind, r.tokens) == ("attention", row.tokens)}
        assert row.attention_ms.median == pytest.approx(3 * layers["swa(5)"] + layers["full"]) and row.whole_ms is None
    assert [row.tokens for row in summary.of("3*swa(5)+full")] == [17, 31]
    size = path.stat().st_size
    assert list(run_sweep(added, [], path)) == [] and path.stat().st_size == size  # named once


def test_layers_apart_are_planned_as_the_distinct_layers_that_are_timed(plan):
    """However many layers a layout has: each kind of layer is one program, and so is what is outside the layers."""
    apart = dataclasses.replace(plan, layers_apart=True, lengths=(31,), quality_tokens=0)
    (full, mixed) = cells_of(apart)
    layouts = named_layouts(["swa(5)+full"], 8)
    (twice, _) = cells_of(dataclasses.replace(apart, model=deeper(plan.model), layouts=layouts, whole=layouts))
    assert (full.kind, full.layouts[0].name, full.programs, mixed.programs) == ("apart", "full", 2, 3)
    assert (twice.work_flops, twice.programs) == (full.work_flops, full.programs)
    config, tokens = plan.model.config, 31
    d, n, k, h = config.d_model, config.n_heads, config.n_kv_heads, config.head_dim
    f = config.layers[0].feed_forward.d_ff
    linear = 2 * tokens * (2 * d * n * h + 2 * d * k * h + 3 * d * f)
    head = 2 * d * config.vocab_size
    scores = 4 * n * h * tokens * tokens  # dense: every pair runs
    assert full.work_flops == linear + scores + 2 * head
    assert mixed.work_flops == 2 * (linear + scores) + 3 * head


def test_executed_flops_are_those_of_the_implementation_that_was_asked_for(plan, tmp_path):
    asked = dataclasses.replace(plan, impl="blockwise")
    found = {}
    for one in (plan, asked):
        path = tmp_path / f"{one.impl}.jsonl"
        records = run_sweep(one, [cell for cell in cells_of(one) if cell.kind == "attention"], path)
        found[one.impl] = {(r.layout, r.tokens): r.flops.executed["attention"] for r in records}
    config, dense, walked = plan.model.config, found["auto"], found["blockwise"]
    for (layout, tokens), flops in walked.items():
        assert flops == attention_flops(parse_variant(layout), config, tokens, count="executed", impl="blockwise")
        assert dense[layout, tokens] == 4 * config.n_heads * config.head_dim * tokens**2 != flops


def test_a_record_names_the_backend_that_auto_takes_also_one_from_outside(plan, tmp_path):
    class Eager(Dense):
        name = "eager"
        place = -1

    with BACKENDS.temporarily(Eager()):
        cells = [cell for cell in cells_of(plan) if cell.kind == "attention"]
        assert {r.impl for r in run_sweep(plan, cells, tmp_path / "records.jsonl")} == {"eager"}


def deeper(model):
    return dataclasses.replace(model, config=dataclasses.replace(model.config, layers=2 * model.config.layers))


def test_a_layout_that_is_not_timed_whole_is_timed_in_parts(plan):
    cells = cells_of(dataclasses.replace(plan, whole=(plan.full,)))
    assert [tuple(map(str, cell.layouts)) for cell in cells if cell.kind == "prefill"] == [("full",)] * 2
    assert [tuple(map(str, cell.layouts)) for cell in cells if cell.kind == "attention"] == [("full", "swa(5)")] * 2
    assert [tuple(map(str, cell.layouts)) for cell in cells if cell.kind == "quality"] == [("full", "swa(5)+full")]


def test_what_a_resumed_run_lacks_on_a_gpu_is_found_without_running_a_layer(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "on_gpu", lambda: True)
    monkeypatch.setattr("eval.measure.cells.layer_work", lambda *_: pytest.fail("a layer runs"))
    at_once = {kind: lambda _, layouts, __: {layout: Findings() for layout in layouts} for kind in MEASURES}
    monkeypatch.setattr(sweep, "MEASURES", at_once)
    path = tmp_path / "records.jsonl"
    found = list(run_sweep(plan, cells_of(plan), path))
    assert {r.impl for r in found} == {"none", "dense"} and missing_cells(plan, path) == []
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[3:]))
    assert missing_cells(plan, path) == cells_of(plan)[:2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": (0,)}, r"1 token or more, got \[0\]"),
        ({"lengths": ()}, "at least one number"),
        ({"lengths": (102,)}, r"the text \(counting\) has 101 tokens, 102 are asked for"),
        ({"quality_tokens": 999}, "999 are asked for"),
        ({"quality_tokens": 1}, r"0 \(none\) or at least 2 tokens of text, got 1"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(plan, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(plan, **change)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_checkpoint_without_numbers_fails_record_by_record_and_resumes(plan, tmp_path, number):
    """One weight of the head's table: what reads logits fails, what does not counts."""
    embedding = plan.model.params["embed"]["embedding"]
    params = plan.model.params | {"embed": {"embedding": embedding.at[256, 3].set(number)}}  # a token that is not read
    broken = dataclasses.replace(plan, model=dataclasses.replace(plan.model, params=params), lengths=(17,))
    path = tmp_path / "records.jsonl"
    found = list(run_sweep(broken, cells_of(broken), path))
    status = {(r.kind, r.layout): r.status for r in found}
    assert {key for key, how in status.items() if how == "failed"} == {
        (kind, layout) for kind in ("prefill", "quality") for layout in ("full", "swa(5)+full")
    }  # fmt: skip
    assert all(r.error.startswith("FloatingPointError: NaN or Inf in ") for r in found if r.status == "failed")
    assert [r.quality for r in found if r.kind == "quality"] == [None, None]
    again = list(run_sweep(broken, missing_cells(broken, path), path))
    assert {(r.kind, r.layout, r.status) for r in again} == {
        (kind, layout, "failed") for kind in ("prefill", "quality") for layout in ("full", "swa(5)+full")
    }  # fmt: skip


def test_what_one_layout_of_a_cell_dies_of_leaves_the_others(plan, tmp_path, monkeypatch):
    def but_one(sweep, layouts, tokens):
        if any(not layout.is_full for layout in layouts):
            raise ValueError("not this one")
        return {layout: Findings() for layout in layouts}

    monkeypatch.setattr(sweep, "MEASURES", dict.fromkeys(MEASURES, but_one))
    cells = [cell for cell in cells_of(plan) if cell.kind == "quality"]
    found = [(r.layout, r.status, r.error) for r in run_sweep(plan, cells, tmp_path / "r")]
    assert found == [("full", "ok", ""), ("swa(5)+full", "failed", "ValueError: not this one")]
