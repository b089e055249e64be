"""Records that do not compare are in summaries of their own; commits and versions are compared and named."""

from __future__ import annotations

import pytest

from eval.report.layout_result import Gain
from eval.report.run_facts import cautions
from tests.eval.report import synthetic_records as given
from tests.eval.report.synthetic_records import names, only, row, summaries, synthetic_records


@pytest.mark.parametrize("field", ["device", "dtype"])
def test_devices_and_dtypes_are_never_compared(field):
    records = synthetic_records()
    others = [r | {field: "other"} for r in synthetic_records(layouts=("swa(1024)",))]
    with pytest.raises(ValueError, match=f"records of more than one {field}, .* and other .*; mixed=True"):
        summaries(records + others)
    ours, theirs = summaries(records + others, mixed=True)
    assert getattr(theirs, field) == "other"
    assert names(theirs) == ("swa(1024)",)
    assert all(r.whole_gain == Gain() == r.attention_gain for r in theirs.results)
    assert ours == only(records)


OTHERS = {
    "machine": {"environment": given.ENVIRONMENT | {"device_kind": "another"}},
    "weights": {"weights": "random (seed 1)"},
}


@pytest.mark.parametrize("change", OTHERS)
def test_machines_and_weights_are_never_compared(change):
    """Ten times as slow elsewhere: nobody's speed-up is ten."""
    lines = synthetic_records(lengths=(512,), quality_tokens=0)
    slow = [line | OTHERS[change] | slowed_line(line, 10) for line in lines if line["kind"] != "attention"]
    ours, theirs = summaries(lines + slow, mixed=True)
    assert ours == only(lines)
    assert [one.whole_gain for one in theirs.results] == [one.whole_gain for one in ours.results]
    assert row(theirs, "full", 512).whole_ms.median == pytest.approx(10 * row(ours, "full", 512).whole_ms.median)
    attention_of = {one.name: one.attention_ms for one in theirs.results}
    assert all(attention_of.values()) == (change == "weights")  # which one layer's attention does not read


def slowed_line(line, factor):
    return {"timing": {"samples_ms": [factor * ms for ms in line["timing"]["samples_ms"]]}}


def test_commits_and_versions_are_compared_and_named():
    newer = {"environment": given.ENVIRONMENT | {"git_commit": "f" * 40, "jax": "0.99"}}
    lines = synthetic_records(lengths=(512,))
    lines = [line | newer if line["layout"] == "swa(1024)" else line for line in lines]
    summary = only(lines, mixed=True)
    assert row(summary, "swa(1024)", 512).whole_gain.speed_up
    (caution, *_) = cautions(summary)
    assert caution.startswith("Compared although the records were made by several programs: git_commit 0123456789ab")
    assert caution.endswith(f"ffffffffffff; jax {given.ENVIRONMENT['jax']}, 0.99.")


@pytest.mark.parametrize("quality_tokens", [0, 512])
def test_what_evicts_after_the_prompt_is_named_where_a_text_was_read(monkeypatch, quality_tokens):
    late = "evict_after(h2o, budget=64)"
    monkeypatch.setitem(given.KL_NATS, late, 0.0)
    lines = synthetic_records(("full", late), lengths=(512,), quality_tokens=quality_tokens)
    said = [one for one in cautions(only(lines)) if "retrieve" in one]
    assert [one.partition(":")[0] for one in said] == [late] * bool(quality_tokens)
