"""Records to rows: each figure follows from the constants of `synthetic_records`."""

from __future__ import annotations

import pytest

from eval.cost.flops.closed_form import prefill_flops
from eval.measure.records.schema import UNTOLD
from eval.report.layout_result import Gain, PartFlops
from tests.eval.report import synthetic_records as given
from tests.eval.report.synthetic_records import CONFIG, measured, names, only, record, row, summaries, synthetic_records

MIXED = "5*swa(1024)+full"


def without(records, **fields):
    return [r for r in records if any(r[name] != value for name, value in fields.items())]


def test_a_row_holds_the_whole_and_its_parts():
    found = row(only(synthetic_records()), MIXED, 4096)
    ms = given.whole_ms(MIXED, 4096)
    assert (found.whole_ms.low, found.whole_ms.median, found.whole_ms.high) == (0.98 * ms, ms, 1.05 * ms)
    assert found.linear_ms.median == given.LINEAR_MS * 4096
    layers = [given.layer_ms("swa(1024)", 4096)] * 25 + [given.layer_ms("full", 4096)] * 5
    assert found.attention_ms.median == pytest.approx(sum(layers))
    assert found.attention_ms.high == pytest.approx(1.05 * sum(layers))
    pairs = 25 * given.pairs("swa(1024)", 4096) + 5 * given.pairs("full", 4096)
    assert found.useful == PartFlops(4 * pairs, given.LINEAR_FLOPS * 4096, given.HEAD_FLOPS)
    assert found.executed.whole == pytest.approx(1.25 * found.useful.whole, rel=1e-6)
    assert found.share_measured == pytest.approx(sum(layers) / (sum(layers) + given.LINEAR_MS * 4096))
    assert found.share_predicted == pytest.approx(4 * pairs / (4 * pairs + given.LINEAR_FLOPS * 4096))
    assert found.memory.planned_bytes == 1501 + 4 * pairs
    assert (found.status, found.impl, found.error) == ("ok", "blockwise", "")


def test_samples_are_those_of_cells_that_went_well():
    lines = [r | {"status": "failed", "error": "E: no"} if r["tokens"] == 4096 else r for r in synthetic_records()]
    found, whole = (only(records).samples_ms("prefill", MIXED) for records in (lines, synthetic_records()))
    assert 4096 in whole and found == {tokens: samples for tokens, samples in whole.items() if tokens != 4096}
    assert list(found) == sorted(found) and found[8192][0] == pytest.approx(given.whole_ms(MIXED, 8192), rel=0.06)


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_layers_apart_are_a_figure_and_what_failed_is_none(status):
    apart = [r | {"kind": "apart", "status": status} for r in synthetic_records() if r["kind"] == "prefill"]
    assert only(apart).is_empty == (status == "failed")
    assert not only(synthetic_records()).is_empty


def test_what_a_library_did_not_tell_is_not_shown():
    told = [r | {"executed_from": {"cudnn": UNTOLD}} if r["layout"] == "full" else r for r in synthetic_records()]
    summary = only(told)
    assert row(summary, "full", 8192).executed is None and row(summary, "full", 8192).useful
    mixed = row(summary, MIXED, 8192)  # whose layers are in part those of full attention, timed apart
    assert mixed.attention_gain.executed_reduction is None and mixed.attention_gain.useful_reduction


def test_a_layout_that_was_timed_in_parts_alone_has_its_rows():
    parts = [r for r in synthetic_records() if r["kind"] in ("linear", "attention")]
    assert names(only(parts)) == () and only(parts).unnamed_variants == ("full", "swa(1024)")
    assert only(synthetic_records()).unnamed_variants == ()
    summary = only([r | {"layouts": ["full", MIXED]} if r["kind"] == "linear" else r for r in parts])
    assert names(summary) == ("full", MIXED)
    assert row(summary, MIXED, 8192).attention_ms == row(only(synthetic_records()), MIXED, 8192).attention_ms
    assert row(summary, MIXED, 8192).attention_gain.speed_up > 1 and row(summary, MIXED, 8192).whole_ms is None


def test_gains_are_over_full_attention_at_the_same_length():
    summary = only(synthetic_records())
    whole, attention = (getattr(row(summary, MIXED, 8192), f"{part}_gain") for part in ("whole", "attention"))
    assert whole.speed_up == pytest.approx(given.whole_ms("full", 8192) / given.whole_ms(MIXED, 8192))
    assert attention.speed_up == pytest.approx(given.attention_ms("full", 8192) / given.attention_ms(MIXED, 8192))
    reduction = given.attention_flops("full", 8192) / given.attention_flops(MIXED, 8192)
    assert attention.useful_reduction == pytest.approx(reduction)
    assert attention.executed_reduction == pytest.approx(reduction)
    assert attention.realisation == pytest.approx(attention.speed_up / reduction)
    assert 1 < whole.useful_reduction < reduction
    assert row(summary, "full", 8192).whole_gain == Gain(1, 1, 1)


def test_rows_are_in_order_and_spelling_does_not_split_them():
    records = synthetic_records()
    for one in records:
        one["layout"] = "+".join(["swa( window=1024 )"] * 5 + ["full"]) if one["layout"] == MIXED else one["layout"]
    summary = only(records[::-1])
    assert set(names(summary)) == {"full", "swa(1024)", MIXED}
    assert names(summary)[0] == "full"
    assert [r.tokens for r in summary.results] == sorted(given.LENGTHS * 3)
    assert row(summary, MIXED, 2048).attention_gain.speed_up > 1
    assert list(summary.samples_ms("attention", "full")) == list(given.LENGTHS)


def test_a_missing_cell_is_none_and_nothing_else_suffers():
    records = synthetic_records()
    no_kernel = row(only(without(records, kind="attention", layout="swa(1024)", tokens=2048)), MIXED, 2048)
    assert (no_kernel.attention_ms, no_kernel.share_measured, no_kernel.attention_gain.speed_up) == (None, None, None)
    assert no_kernel.attention_gain.realisation is None
    assert no_kernel.whole_gain.speed_up > 1
    no_full = row(only(without(records, kind="prefill", layout="full", tokens=2048)), MIXED, 2048)
    assert no_full.whole_gain.speed_up is None
    assert no_full.attention_gain.speed_up > 1
    no_linear = row(only(without(records, kind="linear", layout="full", tokens=2048)), MIXED, 2048)
    assert (no_linear.linear_ms, no_linear.share_measured) == (None, None)
    assert no_linear.share_predicted is not None
    only_quality = only(r for r in records if r["kind"] == "quality")
    assert [(r.whole_ms, r.useful, r.quality is None) for r in only_quality.results] == [(None, None, False)] * 3


def test_a_failed_cell_keeps_its_fault_and_the_flops_of_its_parts():
    records = synthetic_records()
    expected = row(only(records), "full", 8192)
    failed = record("prefill", "full", 8192, status="out-of-memory", error="RESOURCE_EXHAUSTED")
    summary = only([*records, failed])  # the newest record of a cell counts
    found = row(summary, "full", 8192)
    assert (found.status, found.error, found.whole_ms, found.memory) == ("out-of-memory", failed["error"], None, None)
    assert (found.useful, found.executed) == (expected.useful, expected.executed)
    assert found.attention_ms == expected.attention_ms
    assert row(summary, MIXED, 8192).whole_gain.speed_up is None
    assert [(f.kind, f.layout, f.tokens) for f in summary.failures] == [("prefill", "full", 8192)]


def test_useful_flops_of_choosing_are_counted_as_today_whatever_a_record_holds():
    layout = "evict(h2o, budget=64, chunk=64)"
    counted = prefill_flops(CONFIG.with_layout(layout), 512)
    for kind in ("prefill", "attention"):
        one = record(kind, layout, 512, layouts=["full", layout], variant=layout, **measured(3.0, 5, 7))
        found = row(only([*synthetic_records(), one]), layout, 512)
        assert found.useful.attention == counted["attention"] * 3 // 2, kind
    assert counted["selection"] == counted["attention"] // 2


def test_flops_are_not_of_some_of_the_layers():
    kinds = [("prefill", MIXED, 8192), ("attention", "full", 8192)]
    failed = [r | {"status": "failed"} for r in synthetic_records() if (r["kind"], r["layout"], r["tokens"]) in kinds]
    failed = [{key: value for key, value in r.items() if key not in ("flops", "timing")} for r in failed]
    found = row(only([*synthetic_records(), *failed]), MIXED, 8192)
    assert found.useful is found.executed is found.attention_ms is None


def test_flops_of_what_did_not_fit_are_known():
    records = synthetic_records()
    expected = only(records)
    kinds = ("linear", "prefill")
    failed = [r | {"status": "out-of-memory"} for r in records if r["tokens"] == 8192 and r["kind"] in kinds]
    failed = [{key: value for key, value in r.items() if key not in ("flops", "timing")} for r in failed]
    summary = only([*records, *failed])
    found, before = row(summary, "swa(1024)", 8192), row(expected, "swa(1024)", 8192)
    counted = prefill_flops(CONFIG.with_layout("full"), 8192)
    linear = sum(counted[name] for name in ("attention_projections", "feed_forward"))
    assert found.useful == PartFlops(before.useful.attention, linear, counted["head"])
    assert found.attention_gain == before.attention_gain and found.attention_gain.realisation
    assert found.whole_gain.speed_up is found.linear_ms is found.share_measured is None
    full = row(summary, "full", 8192).useful
    assert found.whole_gain.useful_reduction == full.whole / found.useful.whole > 1


def test_the_longest_prompt_is_the_longest_that_has_a_time():
    records = synthetic_records(quality_tokens=0)
    failed = [r | {"status": "out-of-memory"} for r in records if r["tokens"] == 8192 and r["kind"] != "linear"]
    assert {r.tokens for r in only([*records, *failed]).at_longest().results} == {4096}
    in_parts = [r for r in failed if r["kind"] == "prefill"]
    assert {r.tokens for r in only([*records, *in_parts]).at_longest().results} == {
        4096
    }  # where full attention is whole
    others = [r for r in in_parts if r["layout"] != "full"]
    assert {r.tokens for r in only([*records, *others]).at_longest().results} == {8192}
    no_whole = [r | {"status": "out-of-memory"} if r["kind"] == "prefill" else r for r in records]
    assert {r.tokens for r in only(no_whole).at_longest().results} == {8192}
    assert [(r.tokens, r.status) for r in only(in_parts).at_longest().results] == [(8192, "out-of-memory")] * 3


def test_implementations_share_a_summary_unless_they_compete():
    def with_impl(records, impl):
        return [r | {"impl": r["impl"] if r["impl"] == "none" else impl} for r in records]

    short, long = (synthetic_records(lengths=n, quality_tokens=0) for n in ((512, 1024), (2048, 4096)))
    auto = only(with_impl(short, "dense") + long)
    assert auto.impl == "dense+blockwise"
    assert [r.impl for r in auto.of("full")] == ["dense", "dense", "blockwise", "blockwise"]
    assert row(auto, MIXED, 512).whole_gain.speed_up == 1
    dense, blockwise = summaries(with_impl(long, "dense") + long)
    assert (dense.impl, blockwise.impl) == ("dense", "blockwise")
    assert row(dense, MIXED, 4096).linear_ms == row(blockwise, MIXED, 4096).linear_ms is not None
    mixed = only(with_impl(synthetic_records(layouts=("swa(1024)",)), "dense") + synthetic_records(layouts=("full",)))
    assert row(mixed, "swa(1024)", 4096).whole_gain == Gain()


def test_quality_is_of_the_text_that_was_read_last():
    records = synthetic_records()
    assert row(only(records), MIXED, 4096).quality.kl_nats == given.KL_NATS[MIXED]
    assert row(only(records), MIXED, 4096).text == "a book"
    later = given.quality("full", 4096) | {
        "text": {"name": "another", "sha256": "def"}, "text_sha256": "def", "time": "2025-01-02T00:00:00+00:00"
    }  # fmt: skip
    summary = only([later, *records])
    assert row(summary, "full", 4096).text == "another"
    assert row(summary, MIXED, 4096).quality is None


def test_bad_records_get_one_clear_line():
    with pytest.raises(ValueError, match="of one model, the records are of other, smollm2-135m"):
        summaries([*synthetic_records(), record("linear", "full", 9, model="other")])
    with pytest.raises(ValueError, match=r"cannot read the layout '3.ful.swa.4.' of the records: no attention variant"):
        summaries([record("prefill", "3*ful+swa(4)", 9)])
    assert summaries([]) == ()
