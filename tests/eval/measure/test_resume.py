"""A resumed run keeps a record iff it would measure the same: the same parameters, text, variants and code."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import eval as prefillwall
import refmodel
from attention.full import Full
from attention.pattern import SpanPattern
from attention.variant import Variant
from eval.measure import plan as plan_module
from eval.measure import sweep
from eval.measure.cells import MEASURES
from eval.measure.named_layout import named_layouts
from eval.measure.plan import Sweep, Text
from eval.measure.records import file, json_lines
from eval.measure.records.schema import Findings
from eval.measure.resume import foreign_records
from eval.measure.timing import Budget
from refmodel.parts import Rope
from refmodel.presets import preset
from refmodel.source import Model
from refmodel.weights.random import random_params
from tests.compiling import unoptimised
from tests.eval.measure.swept import missing_cells, records_file, run_sweep

IDS = tuple(i % 257 for i in range(41))


@dataclasses.dataclass(frozen=True)
class Hidden(Variant):
    """Spelled alike whatever `slope` is."""

    name = "hidden"
    slope: float = 0.5

    def pattern(self) -> SpanPattern:
        return SpanPattern()

    def __str__(self) -> str:
        return "hidden"


@pytest.fixture(scope="module")
def plan() -> Sweep:
    config = preset("tiny-dense")
    with unoptimised():
        model = Model(config, random_params(config, 0, jnp.float32), None, "random")
    layouts = named_layouts([Hidden()], config.n_layers)
    return Sweep(model, Text("counting", "0" * 64, IDS), layouts, layouts, (17,), 29, Budget(0, 1, 1))


@pytest.fixture
def kept(plan, tmp_path, monkeypatch):
    """A folder with every record of the plan, nothing of which was measured."""
    at_once = {kind: lambda _, layouts, __: {layout: Findings() for layout in layouts} for kind in MEASURES}
    monkeypatch.setattr(sweep, "MEASURES", at_once)
    with records_file(plan, tmp_path) as path:
        list(run_sweep(plan, missing_cells(plan, path), path))
    return path


def of_model(plan, **changes):
    return dataclasses.replace(plan, model=dataclasses.replace(plan.model, **changes))


def one_bit_off(plan):
    scale = plan.model.params["final_norm"]["scale"]
    return of_model(plan, params=plan.model.params | {"final_norm": {"scale": scale.at[3].multiply(1 + 1e-6)}})


def other_rope(plan):
    layers = tuple(dataclasses.replace(layer, rope=Rope(5e5)) for layer in plan.model.config.layers)
    return of_model(plan, config=dataclasses.replace(plan.model.config, layers=layers))


def other_slope(plan):
    layouts = named_layouts([Hidden(0.25)], plan.model.config.n_layers)
    return dataclasses.replace(plan, layouts=layouts, whole=layouts)


def other_text(plan):
    return dataclasses.replace(plan, text=dataclasses.replace(plan.text, tokens=(*IDS[:16], 5, *IDS[17:])))


def other_weights(plan):
    return of_model(plan, weights="checkpoint")


ALL = {"linear", "attention", "prefill", "quality"}


@pytest.mark.parametrize(
    ("change", "kinds", "layouts", "word"),
    [
        (one_bit_off, ALL - {"attention"}, {"full", "hidden"}, "params"),
        (other_rope, ALL, {"full", "hidden"}, "config"),
        (other_slope, ALL - {"linear"}, {"hidden"}, "layout"),
        (other_text, ALL - {"attention"}, {"full", "hidden"}, "tokens"),
        (other_weights, ALL - {"attention"}, {"full", "hidden"}, "weights"),
    ],
)
def test_what_is_of_something_else_is_measured_again_and_said(plan, kept, change, kinds, layouts, word):
    changed, before, said = change(plan), kept.read_bytes(), []
    assert missing_cells(plan, kept) == [] != missing_cells(changed, kept)
    with records_file(changed, kept.parent, resume=True, on_foreign=lambda *told: said.append(told)) as path:
        missing = missing_cells(changed, path)
        assert {cell.kind for cell in missing} == kinds
        assert {str(layout) for cell in missing for layout in cell.layouts} == layouts
        stay = file.read(path)
        again = list(run_sweep(changed, missing, path))
    ((aside, count, words),) = said
    assert aside.read_bytes() == before and count == len(again) and all(one.startswith(f"{word} ") for one in words)
    assert not {one.cell for one in stay} & {one.cell for one in again}
    with records_file(changed, kept.parent, resume=True, on_foreign=pytest.fail) as path:
        assert missing_cells(changed, path) == []


@pytest.mark.parametrize("field", ["git_commit", "jax", "xla_flags", "cores"])
def test_so_is_what_another_program_measured(plan, kept, field):
    run = sweep.run_of(plan)
    records = file.read(kept)
    assert foreign_records(plan, run, records) == {}
    other = dataclasses.replace(run, environment=dataclasses.replace(run.environment, **{field: "0" * 40}))
    assert len(foreign_records(plan, other, records)) == len(records)
    other = dataclasses.replace(run, code_digest="0" * 32)
    (words,) = {tuple(words) for words in foreign_records(plan, other, records).values()}
    assert words == (f"code {run.code_digest[:12]} instead of 000000000000",)


def test_a_record_that_reads_more_than_the_text_has_is_foreign(plan, kept):
    """Whatever it begins with: the text of a run before was another one."""
    short = dataclasses.replace(plan, text=dataclasses.replace(plan.text, tokens=IDS[:17]), quality_tokens=0)
    records = file.read(kept)
    found = foreign_records(short, sweep.run_of(short), records)
    assert {records[place].kind for place in found} == {"quality"} == {r.kind for r in records if r.tokens > 17}
    assert all(words[0].endswith("instead of a text of 17") for words in found.values())


def test_code_commit_and_parameters_are_looked_at_once(kept, monkeypatch, tmp_path):
    """What changes on the disk while a sweep runs is not in its program."""
    asked = []
    for name in ("code_digest", "environment"):
        real = getattr(sweep, name)
        monkeypatch.setattr(sweep, name, lambda name=name, real=real: asked.append(name) or real())
    monkeypatch.setattr(plan_module, "params_digest", lambda *_, **__: asked.append("params") or "0" * 32)
    asks = {"layouts": ["swa(5)"], "tokens": [16], "whole": [], "quality_tokens": 0, "budget": Budget(0, 1, 1)}
    for resume in (False, True):
        prefillwall.compare("tiny-dense", **asks, out=tmp_path / "out", resume=resume)
        assert sorted(asked) == ["code_digest", "environment", "params"]
        asked.clear()


def test_records_that_tell_of_no_digest_are_read_and_measured_again(plan, kept):
    """As those of schema 1."""
    told = {"config_digest", "params_digest", "code_digest", "layout_digest", "tokens_digest"}
    lines = [{k: v for k, v in line.items() if k not in told} | {"schema": 1} for _, line in json_lines.read(kept)]
    kept.unlink()
    for line in lines:
        json_lines.append(kept, line)
    assert len(file.read(kept)) == len(lines) == len(foreign_records(plan, sweep.run_of(plan), file.read(kept)))


def test_a_layout_that_nobody_can_read_stays(plan, kept):
    """Its records are of a variant that is not at hand, whose parameters cannot be looked at."""
    others = named_layouts([Full()], plan.model.config.n_layers)
    without = dataclasses.replace(plan, layouts=others, whole=others)
    assert foreign_records(without, sweep.run_of(without), file.read(kept)) == {}


def test_a_model_with_changed_parameters_is_not_given_the_others_perplexity(tmp_path, capsys, fast_compile):
    model = refmodel.load("tiny-dense")
    tuned = dataclasses.replace(model, params=jax.tree.map(lambda x: x * 1.5, model.params))
    asked = {"layouts": ["swa(5)"], "tokens": [16], "whole": [], "quality_tokens": 29, "budget": Budget(0, 1, 1)}
    prefillwall.compare(model, **asked, out=tmp_path)
    resumed = prefillwall.compare(tuned, **asked, out=tmp_path, resume=True)
    said = capsys.readouterr().err
    fresh = prefillwall.compare(tuned, **asked)
    found, right = ([row["perplexity"] for row in one.rows() if row["perplexity"]] for one in (resumed, fresh))
    assert found == right and said.count("\n") == 1 and "records that were there are not of this run (params " in said
