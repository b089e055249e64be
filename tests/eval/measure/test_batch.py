"""Several prompts at once: what a comparison reads, counts and says of them."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

import eval
import refmodel
from eval.cost.flops.closed_form import prefill_flops
from eval.measure.cells import measure_prefill
from eval.measure.default_sweep import usual_sweep
from eval.measure.plan import plan
from eval.measure.records.schema import Kind
from eval.measure.timing import Budget
from tests.compiling import unoptimised

pytestmark = pytest.mark.usefixtures("fast_compile")

BATCH, TOKENS = 3, 17
ONCE = Budget(0, 1, 1, again_s=0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    asked = {"tokens": [TOKENS], "quality_tokens": 13, "budget": ONCE, "batch": BATCH, "out": folder}
    with unoptimised():
        return folder, asked, eval.compare("tiny-moe", ["swa(5)"], **asked)


def test_rows_of_a_batch_are_successive_stretches_of_the_text():
    sweep = usual_sweep(refmodel.load("tiny-dense"), ["swa(5)"], [TOKENS], batch=BATCH)
    read = np.asarray(sweep.text.tokens[: BATCH * TOKENS])
    np.testing.assert_array_equal(sweep.prompts(TOKENS), read.reshape(BATCH, TOKENS))
    for kind in get_args(Kind):
        rows = 1 if kind == "quality" else BATCH
        assert list(sweep.read_by(kind, TOKENS)) == read[: rows * TOKENS].tolist(), kind
    known = len(sweep.text.tokens)
    np.testing.assert_array_equal(sweep.prompts(known), [sweep.text.tokens] * BATCH)  # and begins again where it ends


def test_flops_of_all_are_counted_and_quality_is_of_one(found):
    _, _, compared = found
    model = refmodel.load("tiny-moe")
    assert {record.run.batch for record in compared.records} == {BATCH}
    for record in compared.records:
        assert record.status == "ok", record.error
        if record.kind == "prefill":
            config = model.config.with_layout(record.layout)
            for count in ("useful", "executed"):
                expected = prefill_flops(config, TOKENS, count=count, batch=BATCH)
                assert getattr(record.flops, count) == expected
        if record.kind == "attention":
            of_one = prefill_flops(model.config.with_layout(record.layout), TOKENS)["attention"]
            assert record.flops.useful["attention"] * model.config.n_layers == BATCH * of_one
    row = next(row for row in compared.rows() if row["tokens"] == TOKENS)
    assert row["batch"] == BATCH
    assert row["prefill_tokens_per_s"] == pytest.approx(1e3 * BATCH * TOKENS / row["prefill_ms"])
    assert row["useful_flops"] == sum(prefill_flops(model.config, TOKENS, batch=BATCH).values())
    alone = usual_sweep(model, ["swa(5)"], [TOKENS], quality_tokens=13)
    batch = usual_sweep(model, ["swa(5)"], [TOKENS], quality_tokens=13, batch=BATCH)
    for one, all_of in zip(plan(alone), plan(batch), strict=True):
        times = 1 if one.kind == "quality" else BATCH
        assert all(all_of.flops[layout] >= times * 0.9 * flops for layout, flops in one.flops.items())
        assert one.kind == "prefill" or all_of.work_flops <= times * one.work_flops  # tiles of experts are shared


def test_what_ran_had_all_rows(found, monkeypatch):
    seen = []
    monkeypatch.setattr("eval.measure.cells.prefill", lambda _, __, tokens_bt, **___: seen.append(tokens_bt.shape))
    sweep = usual_sweep(refmodel.load("tiny-dense"), ["swa(5)"], [TOKENS], batch=BATCH, budget=ONCE)
    measure_prefill(sweep, sweep.layouts, TOKENS)
    assert set(seen) == {(BATCH, TOKENS)}


def test_a_batch_resumes_itself_alone_and_compares_with_no_other(found, tmp_path):
    _, asked, compared = found
    new = []
    eval.compare("tiny-moe", ["swa(5)"], **asked, resume=True, on_record=new.append)
    assert new == []
    with pytest.raises(ValueError, match=r"holds records of batch 3, this run's is 1"):
        eval.compare("tiny-moe", ["swa(5)"], **{**asked, "batch": 1}, resume=True)
    one = eval.compare("tiny-moe", ["swa(5)"], **{**asked, "batch": 1, "out": tmp_path})
    both = (*compared.records, *one.records)
    with pytest.raises(ValueError, match=r"records of more than one batch, 3 .* and 1 "):
        eval.Comparison(compared.config, both).rows()
    rows = eval.Comparison(compared.config, both, mixed=True).rows()
    assert sorted(row["batch"] for row in rows if row["layout"] == "full" and row["tokens"] == TOKENS) == [1, BATCH]
    with pytest.raises(ValueError, match="batch must be a whole number from 1 to 1,048,576, got 0"):
        eval.compare("tiny-moe", ["swa(5)"], **{**asked, "batch": 0, "out": None})
