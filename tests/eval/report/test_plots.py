"""Pictures: what is drawn is what was measured, nothing overlaps, and a file comes out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from eval.report.palette import LIGHT, MARKERS
from eval.report.plots import cost_figure, quality_figure, save, share_figure, spread_out
from eval.report.run_facts import crossovers
from tests.eval.report.drawn_records import READ, drawn_records
from tests.eval.report.plain import figures as figures_of
from tests.eval.report.synthetic_records import (
    KL_NATS,
    LAYOUTS,
    LENGTHS,
    attention_ms,
    summaries,
    synthetic_records,
)

MANY = ("full", "swa(256)", "swa(512)", "swa(1024)", "5*swa(1024)+full", "swa(512)+full", "swa(252, sinks=4)")


@pytest.fixture(autouse=True)
def quality_of_many(monkeypatch):
    for place, layout in enumerate(MANY):
        monkeypatch.setitem(KL_NATS, layout, 0.03 * (place % 2))


def summary_of(records):
    (summary,) = summaries(records)
    return summary


def figures(summary):
    return cost_figure(summary, *crossovers(summary)), share_figure(summary), quality_figure(summary)


def lines(axes, colour, marker):
    found = [line for line in axes.lines if to_hex(line.get_color()) == colour and line.get_marker() == marker]
    return [line.get_xydata() for line in found if len(line.get_xdata()) == len(LENGTHS)]


@pytest.mark.parametrize("layouts", [LAYOUTS, MANY])
def test_labels_do_not_overlap_and_stay_inside(layouts):
    for figure in figures(summary_of(synthetic_records(layouts))):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for axes in figure.axes:
            boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
            assert len(boxes) >= len(layouts)
            assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
            assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_cost_shows_the_measured_times_and_both_crossovers():
    summary = summary_of(synthetic_records())
    measured, analytic = crossovers(summary)
    parts = cost_figure(summary, measured, analytic).axes[1]
    for layout, colour, marker in zip(LAYOUTS, LIGHT, "osD", strict=False):
        (drawn,) = lines(parts, colour, marker)
        np.testing.assert_allclose(drawn, [(n, attention_ms(layout, n)) for n in LENGTHS])
    crosses = [line.get_xdata()[0] for line in parts.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert crosses == [measured["full"].tokens, measured["5*swa(1024)+full"].tokens]
    rings = [line for line in parts.lines if line.get_markersize() == 12]
    assert [line.get_xdata()[0] for line in rings] == [analytic["full"], analytic["5*swa(1024)+full"]]


def test_a_layout_keeps_its_colour():
    cost, share, quality = figures(summary_of(synthetic_records()))
    for layout, colour in zip(LAYOUTS, LIGHT, strict=False):
        for figure in (cost, share, quality):
            (label,) = (text for text in figure.axes[0].texts if text.get_text() == layout)
            height = label.xy[1]
            (mark,) = (line for line in figure.axes[0].lines if list(line.get_ydata()) == [height])
            assert to_hex(mark.get_color()) == colour and mark.get_xdata()[0] < label.xy[0]


def test_quality_is_at_the_longest_lengths_that_all_share():
    records = synthetic_records()
    gone = next(r for r in records if (r["kind"], r["layout"], r["tokens"]) == ("prefill", "full", 8192))
    figure = quality_figure(summary_of([r for r in records if r is not gone]))
    assert all("time of 4,096 tokens" in axes.get_xlabel() for axes in figure.axes)
    assert "Quality over 4,096 tokens" in figure.get_suptitle()


def test_a_colour_that_comes_again_is_dashed_and_hollow():
    layouts = ["full", *(f"swa({window})" for window in range(2, 2 + len(LIGHT)))]
    whole = cost_figure(summary_of(synthetic_records(layouts, quality_tokens=0)), {}, {}).axes[0]
    drawn = [line for line in whole.lines if len(line.get_xdata()) == len(LENGTHS)]
    looks = [(to_hex(line.get_color()), line.get_marker(), line.get_linestyle()) for line in drawn]
    assert [colour for colour, *_ in looks] == [*LIGHT, LIGHT[0]]
    assert looks[-1] == (LIGHT[0], MARKERS[len(LIGHT) % len(MARKERS)], "--") and looks[0][1:] == (MARKERS[0], "-")
    assert to_hex(drawn[-1].get_markerfacecolor()) != LIGHT[0] == to_hex(drawn[0].get_markerfacecolor())


def test_nothing_to_draw_is_no_figure():
    timed = summary_of(synthetic_records(quality_tokens=0))
    assert quality_figure(timed) is None
    read = summary_of([r for r in synthetic_records() if r["kind"] == "quality"])
    assert cost_figure(read, {}, {}) is None
    assert share_figure(read) is None
    assert quality_figure(read) is None


def test_files_are_png_and_the_same_each_time(tmp_path):
    summary = summary_of(synthetic_records())
    one, two = (save(share_figure(summary), tmp_path / f"{name}.png").read_bytes() for name in "ab")
    assert one.startswith(b"\x89PNG")
    assert one == two


def test_spread_out_keeps_order_and_distance():
    placed = spread_out([0.5, 0.1, 0.51, 0.49, 0.9], gap=0.1)
    assert np.argsort(placed).tolist() == [1, 3, 0, 2, 4]
    assert min(np.diff(sorted(placed))) >= 0.1 - 1e-6
    np.testing.assert_allclose((placed[1], placed[4]), (0.1, 0.9))
    assert spread_out([], gap=0.1) == []
    np.testing.assert_allclose(spread_out([0.5] * 23, gap=0.1), 0.5 + 0.1 * (np.arange(23) - 11), atol=1e-9)


DRAWN = drawn_records()
FOUND = {(layout, n): figures_of(DRAWN, layout, n) for layout in LAYOUTS for n in LENGTHS}


def drawn_lines(axes, **style):
    return [line for line in axes.lines if len(line.get_xdata()) == len(LENGTHS)
            and all(getattr(line, f"get_{name}")() == value for name, value in style.items())]  # fmt: skip


def test_each_line_of_the_cost_picture_is_its_layouts_part():
    summary = summary_of(DRAWN)
    whole, parts = cost_figure(summary, *crossovers(summary)).axes
    for axes, part in ((whole, "whole_ms"), (parts, "attention_ms")):
        bands = {to_hex(band.get_facecolor()): band.get_paths()[0].vertices for band in axes.collections}
        for layout, colour, marker in zip(LAYOUTS, LIGHT, "osD", strict=False):
            (line,) = drawn_lines(axes, color=colour, marker=marker)
            ms = np.array([FOUND[layout, n][part] for n in LENGTHS])
            np.testing.assert_allclose(line.get_xydata(), np.stack([LENGTHS, ms[:, 0]], 1))
            for n, low, high in zip(LENGTHS, *ms[:, 1:].T, strict=True):
                of_n = [y for x, y in bands[colour] if x == n]
                assert (min(of_n), max(of_n)) == pytest.approx((low, high))
    (linear,) = drawn_lines(parts, marker=".")
    np.testing.assert_allclose(linear.get_ydata(), [FOUND["full", n]["linear_ms"][0] for n in LENGTHS])


def test_the_share_picture_has_time_as_lines_and_flops_dashed():
    (axes,) = share_figure(summary_of(DRAWN)).axes
    for layout, colour, marker in zip(LAYOUTS, LIGHT, "osD", strict=False):
        (of_time,), (of_flops,) = (drawn_lines(axes, color=colour, marker=one) for one in (marker, ""))
        np.testing.assert_allclose(of_time.get_ydata(), [FOUND[layout, n]["time_share"] for n in LENGTHS])
        np.testing.assert_allclose(of_flops.get_ydata(), [FOUND[layout, n]["flop_share"] for n in LENGTHS])
        assert of_time.get_linestyle() == "-" != of_flops.get_linestyle()
    labels = {line.get_label(): line.get_linestyle() for line in axes.lines}
    assert labels["measured time"] == "-" != labels["predicted by useful FLOPs"]


def test_the_quality_picture_has_loss_over_time_with_its_range():
    figure = quality_figure(summary_of(DRAWN))
    assert figure.get_suptitle() == f"Quality over {READ[-1]:,} tokens of text, against the time of the whole prefill"
    for axes, field in zip(figure.axes, ("kl_nats", "perplexity"), strict=True):
        assert field.split("_")[0].lower() in axes.get_ylabel().lower()
        for layout, colour, bars in zip(LAYOUTS, LIGHT, axes.containers, strict=False):
            point, _, (span,) = bars
            ms, loss = FOUND[layout, LENGTHS[-1]]["whole_ms"], FOUND[layout, READ[-1]]["quality"][field]
            assert to_hex(point.get_color()) == colour
            np.testing.assert_allclose(point.get_xydata(), [(ms[0], loss)])
            np.testing.assert_allclose(span.get_segments()[0], [(ms[1], loss), (ms[2], loss)])
        assert axes.get_xlabel() == f"time of {LENGTHS[-1]:,} tokens, median and range (ms)"
        assert {text.get_text() for text in axes.texts} == set(LAYOUTS)
