"""Records and JSON: what is written is read back, every field is checked, and older lines are brought up to date."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.bench.results import ROOT
from eval.measure.records import json_lines
from eval.measure.records.decode import from_json, to_json
from eval.measure.records.environment import Environment
from eval.measure.records.schema import (
    SCHEMA,
    FlopCounts,
    LayerTime,
    ProgramMemory,
    Record,
    RunInfo,
    TextSource,
)
from eval.measure.timing import Timing
from eval.quality.text_quality import Interval, Stretch, TextQuality, TextSpread
from tests.eval.report import synthetic_records as given_records

KEPT = [ROOT / "eval/results" / name / "records.jsonl" for name in
        ("smollm2-cpu", "h100-qwen3-30b-a3b", "h100-other-layouts")]  # fmt: skip

text, number = st.text(max_size=5), st.floats(1e-9, 1e12)
share, count = st.floats(0, 1), st.integers(1, 2**20)
flops = st.dictionaries(text, st.integers(0, 2**60), max_size=3).map(lambda found: found | {"attention": 5})
timings = st.builds(
    Timing, samples_ms=st.lists(number, min_size=1, max_size=3).map(tuple), warmup_ms=st.none() | number
)
environments = st.builds(Environment, cores=count, git_commit=st.none() | text, git_dirty=st.none() | st.booleans())
stretches = st.builds(Stretch, first=count, last=count, perplexity=number, kl_nats=share)
intervals = st.none() | st.builds(Interval, low=share, high=number)
spreads = st.builds(
    TextSpread, kl_p99_nats=share, first_departure=st.none() | count, perplexity=intervals, perplexity_change=intervals,
    kl_nats=intervals,
)  # fmt: skip
qualities = st.builds(
    TextQuality, perplexity=number, kl_nats=share, top1_agreement=share,
    by_position=st.lists(stretches, max_size=2).map(tuple), spread=st.none() | spreads,
)  # fmt: skip
sizes = st.none() | st.integers(0, 2**62)
memories = st.builds(
    ProgramMemory, argument_bytes=sizes, temp_bytes=sizes, output_bytes=sizes, rss_peak_bytes=sizes
)  # fmt: skip
a_record = partial(
    st.builds, Record, run=st.builds(RunInfo, environment=environments), text=st.none() | st.builds(TextSource),
    layout=st.text(min_size=1, max_size=5), tokens=st.integers(1, 2**31 - 2), error=text,
    flops=st.none() | st.builds(FlopCounts, flops, flops), memory=st.none() | memories,
    calls_per_sample=st.integers(1, 9),
    executed_from=st.dictionaries(text, text, max_size=2),
    layers=st.lists(st.builds(LayerTime, count=count, ms=number), max_size=2).map(tuple), ends_ms=st.none() | number,
    parts=st.dictionaries(text, timings, max_size=2), layouts=st.lists(text, max_size=2).map(tuple),
)  # fmt: skip
records = a_record(status=st.just("ok"), timing=timings, quality=qualities) | a_record(
    status=st.just("failed"), timing=st.none() | timings, quality=st.none() | qualities
)


def holds(found, wanted):
    """Whether all that is `wanted` is found, in objects inside objects too."""
    if isinstance(wanted, dict):
        return all(name in found and holds(found[name], value) for name, value in wanted.items())
    return found == wanted


@given(records)
def test_what_is_written_is_read_back(record):
    assert from_json(json.loads(json.dumps(to_json(record)))) == record


def test_records_of_every_kind_that_were_kept_are_read():
    lines = [line for path in KEPT for _, line in json_lines.read(path)]
    found = list(map(from_json, lines))
    assert {record.kind for record in found} == {"linear", "attention", "prefill", "quality", "apart"}
    assert {line.get("schema") for line in lines} == {None, SCHEMA}
    for line, record in zip(lines, found, strict=True):
        assert to_json(record)["schema"] == SCHEMA == line.get("schema", SCHEMA)
        assert from_json(to_json(record)) == record
        again = {"calls_per_sample": 1, **to_json(record)}
        assert holds(again, {name: value for name, value in line.items() if name not in ("variant", "text_sha256")})
        if "schema" not in line:
            assert again.get("text", {}).get("sha256") == line.get("text_sha256")


@pytest.mark.parametrize("schema", [0, 1])
def test_a_layer_that_took_less_than_nothing_took_nothing(schema):
    """As records before schema 2 have it, by no more than the ends that were taken off."""
    apart = given_records.record("apart", "full", 7, ends_ms=0.5, asked="auto") | {"schema": schema}
    layers = [{"layer": "full", "count": 3, "ms": ms} for ms in (-0.01, 2.0, -0.5)]
    assert [layer.ms for layer in from_json(apart | {"layers": layers}).layers] == [0.0, 2.0, 0.0]
    for wrong in (-0.6, float("nan"), None):
        with pytest.raises(ValueError, match=r"^layers\[0\].ms must be"):
            from_json(apart | {"layers": [layers[0] | {"ms": wrong}]})
    with pytest.raises(ValueError, match=r"^layers\[0\].ms must be at least 0"):
        from_json(apart | {"schema": 2, "layers": layers})


def test_a_line_without_a_schema_gets_what_it_lacked():
    line = given_records.record("attention", "swa(5)", 7, variant="swa(5)")
    record = from_json(line)
    assert (record.layout, record.asked, record.text) == ("swa(5)", record.impl, None)
    unread = given_records.record("quality", "full", 7, status="failed", text_sha256="abc")
    assert from_json(unread).text.sha256 == "abc"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "kernel"}, "^kind must be one of linear, attention, prefill, apart, quality, got 'kernel'$"),
        ({"tokens": "7"}, "^tokens must be a whole number, got '7'$"),
        ({"tokens": True}, "^tokens must be a whole number, got True$"),
        ({"timing": {"samples_ms": [1.0, None]}}, r"^timing.samples_ms\[1\] must be a number, got None$"),
        ({"timing": {"samples_ms": 1.0}}, "^timing.samples_ms must be a list, got 1.0$"),
        ({"timing": 3}, "^timing must be a JSON object, got 3$"),
        ({"timing": {}}, "^no timing.samples_ms; a record of a comparison has one$"),
        ({"flops": {"useful": {"attention": 0.5}, "executed": {}}}, "^flops.useful.attention must be a whole number"),
        ({"environment": {"cores": 1}}, "^no environment.device_kind"),
        ({"memory": {"temp_byte": 1}}, "^no memory.field 'temp_byte' .did you mean 'temp_bytes'"),
        ({"colour": 1}, "^no field 'colour'"),
        ({"device": None}, "^device must be text, got None$"),
        ({"schema": SCHEMA + 1}, f"^schema must be at most {SCHEMA}, which this version reads, got {SCHEMA + 1}$"),
        ({"schema": "one"}, "^schema must be at most"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        from_json(given_records.record("prefill", "full", 7) | change)


@pytest.mark.parametrize(
    "name", [f.name for f in dataclasses.fields(RunInfo) if f.default is dataclasses.MISSING] + ["kind", "time"]
)
def test_what_every_record_has_is_missed(name):
    line = {key: value for key, value in given_records.record("prefill", "full", 7).items() if key != name}
    with pytest.raises(ValueError, match=f"^no {name}; a record of a comparison has one$"):
        from_json(line)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, "tokens must be at least 1 and at most .*, got 0"),
        ({"memory": {"temp_bytes": -1}}, "memory.temp_bytes must be at least 0 and"),
        ({"tokens": -5}, "tokens must be at least 1 and at most .*, got -5"),
        ({"layout": ""}, "layout must name one, got ''"),
        ({"schema": True}, "schema must be at most 2, .* got True"),
        ({"schema": 1.0}, "schema must be at most 2, .* got 1.0"),
        ({"timing": {"samples_ms": []}}, "timing.samples_ms must be one time or more"),
        ({"timing": {"samples_ms": [3.0, float("nan")]}}, r"timing.samples_ms\[1\] must be at least .*, got nan"),
        ({"timing": {"samples_ms": [-3.0]}}, r"timing.samples_ms\[0\] must be at least 1e-09 and .*, got -3.0"),
        ({"timing": {"samples_ms": [10**400]}}, r"timing.samples_ms\[0\] must be .*, got 1000.*\(401 digits\)"),
        ({"kind": "attention", "flops": {"useful": {}, "executed": {}}}, "no flops.useful.attention"),
        ({"flops": {"useful": {"head": -1}, "executed": {}}}, "flops.useful.head must be at least 0 and"),
        ({"tokens": 2**31 - 1}, "tokens must be at least 1 and at most 2147483646, got 2147483647"),
        ({"error": "\udc80"}, "error must be text that can be written"),
        ({"flops": {"useful": {"a\nb": "x"}, "executed": {}}}, r"^flops.useful.'a\\nb' must be a whole number"),
        ({"flops": {"useful": {"\udc80": 1}, "executed": {}}}, r"^a name in flops.useful must be text that can be wr"),
        ({"parts": {"a\nb": {"samples_ms": []}}}, r"^parts.'a\\nb'.samples_ms must be one time or more"),
        ({"parts": {"a\nb": {"samples_ms": ["x"]}}}, r"^parts.'a\\nb'.samples_ms\[0\] must be a number, got 'x'$"),
        ({"kind": ["prefill"]}, r"kind must be one of linear, .*, got \['prefill'\]"),
    ],
)
def test_what_no_measurement_says_is_refused(change, message):
    line = next(line for _, line in json_lines.read(KEPT[0]) if line["kind"] == "prefill" and line["status"] == "ok")
    assert from_json(line).tokens > 0
    with pytest.raises(ValueError, match=message):
        from_json(line | change)
