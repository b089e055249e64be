"""Scales, frontier and sentences: what the figures say is what the summary holds."""

from __future__ import annotations

import itertools
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.report.number_format import duration, flops
from eval.report.page.all_figures import FIGURES
from eval.report.page.figure import Context, Figure
from eval.report.page.figures.floor import best_rate
from eval.report.page.layout_sentence import layout_sentence
from eval.report.page.scales import Scale, around, thinned, ticks
from eval.report.report_files import write_report
from tests.eval.report.synthetic_records import CONFIG, compared, summaries, synthetic_records
from tests.printed import blocks, carry_out

[SUMMARY] = summaries(synthetic_records())
POSITIVE = st.floats(1e-3, 1e6)


@pytest.mark.parametrize(
    ("words", "model"),
    [
        ("", CONFIG.name),
        ("--model tiny-moe --tokens 64", "tiny-moe"),
        ("--layouts full --model=tiny-moe", "tiny-moe"),
        ("--model 'my models/a'", "'my models/a'"),
        ("--model='my models/a' --resume", "'my models/a'"),
        ("--model tiny-moe --model=tiny-dense", "tiny-dense"),
    ],
)
def test_commands_beside_a_figure_name_the_model_that_was_compared(words, model):
    command = f"prefillwall compare {words}"
    context = Context(SUMMARY, {}, {}, {}, [command])
    assert context.model == model
    assert shlex.split(context.redraw) == shlex.split(command + " --resume" * ("--resume" not in words))
    drawn_again = Context(SUMMARY, {}, {}, {}, [command, "prefillwall report out/x"])
    assert (drawn_again.model, drawn_again.redraw) == (model, "prefillwall report out/x")


def test_a_report_that_was_drawn_from_records_is_drawn_so_again():
    command = "prefillwall report out/compare --json"
    assert Context(SUMMARY, {}, {}, {}, [command]).redraw == command


@given(st.lists(POSITIVE, min_size=1, max_size=9), st.sampled_from(["linear", "log", "sqrt"]))
def test_scales_hold_their_values_in_order_and_ticks_on_them(values, kind):
    scale = around(values, 300.0, 20.0, kind)
    heights = [scale(value) for value in sorted(values)]
    assert heights == sorted(heights, reverse=True)
    assert all(19.9 <= height <= 300.1 for height in heights)
    found = ticks(scale, 18)
    assert all(scale.low <= tick <= scale.high for tick in found)
    assert all(abs(scale(a) - scale(b)) >= 18 for a, b in itertools.pairwise(found))


def test_thinned_keeps_the_largest():
    assert thinned([1, 2, 3, 10], Scale(0, 10, 0, 100), 25) == [3, 10]


def test_floor_divides_by_the_peak_or_says_that_it_is_none():
    assert "no peak of this device is known" in best_rate(SUMMARY).words
    rates = [1e3 * row.useful.linear / row.linear_ms.median for row in SUMMARY.results]
    assert best_rate(SUMMARY).flops_per_s >= max(rates)
    card = {"environment": synthetic_records()[0]["environment"] | {"device_kind": "NVIDIA H100 80GB HBM3"}}
    [on_card] = summaries([r | card | {"dtype": "bfloat16"} for r in synthetic_records()])
    assert best_rate(on_card).flops_per_s == 989e12


def test_sentences_say_what_is_saved_and_lost():
    row = SUMMARY.of("swa(1024)")[-1]
    said = layout_sentence(SUMMARY, "swa(1024)")
    assert f"attention runs {row.attention_gain.speed_up:.2f}x as fast" in said
    assert f"the whole prefill {row.whole_gain.speed_up:.2f}x as fast" in said
    assert "perplexity rises by 25.0 % over 4,096 tokens (KL 0.250 nats)" in said
    assert layout_sentence(SUMMARY, "full").startswith(
        f"The reference: at 8,192 tokens a prefill takes {duration(SUMMARY.of('full')[-1].whole_ms.median)} (median of "
        f"{SUMMARY.of('full')[-1].whole_ms.samples} samples)"
    )
    failed = [
        r | {"status": "out-of-memory"}
        for r in synthetic_records()
        if r["tokens"] == 8192 and r["kind"] in ("linear", "prefill")
    ]
    [no_room] = summaries([*synthetic_records(), *failed])
    said, before = layout_sentence(no_room, "swa(1024)"), SUMMARY.of("swa(1024)")[-2]
    assert f"At 8,192 tokens attention runs {row.attention_gain.speed_up:.2f}x as fast" in said
    assert f"at 4,096 tokens the whole prefill {before.whole_gain.speed_up:.2f}x as fast" in said
    assert layout_sentence(no_room, "full").startswith("The reference: at 4,096 tokens a prefill takes")
    [only_read] = summaries([r for r in synthetic_records() if r["kind"] == "quality"])
    assert layout_sentence(only_read, "swa(1024)").startswith("Perplexity rises")


def test_a_figure_from_outside_has_its_section(tmp_path):
    found = compared(synthetic_records())
    (source,) = (text for text in blocks("docs/extending.md", "python") if "@FIGURES.register" in text)
    with FIGURES.temporarily():
        carry_out(source)
        write_report(tmp_path, found, command="prefillwall compare")
    text = (tmp_path / "report.html").read_text()
    assert 'id="asked-section"' in text and '<a href="#asked-section">What attention asks for</a>' in text
    assert f"swa(1024), 8,192 tokens: {flops(SUMMARY.of('swa(1024)')[-1].useful.attention)}" in text
    assert text.index('id="position-section"') < text.index('id="asked-section"') < text.index('id="layouts"')
    write_report(tmp_path, found, command="prefillwall compare")
    assert "asked-section" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", ["cost", "numbers", "tip", "cost-section"])
def test_a_figure_has_a_name_of_its_own(tmp_path, name):
    def another(context):
        return Figure(name, "Again", (), "", context.redraw)

    with (
        FIGURES.temporarily(another),
        pytest.raises(ValueError, match=f"a figure of the page cannot be called '{name}'"),
    ):
        write_report(tmp_path, compared(synthetic_records()), command="prefillwall compare")
