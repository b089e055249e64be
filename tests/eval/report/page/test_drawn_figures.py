"""Every point, range, tip and name of the page's figures, against figures worked out without the report's code."""

from __future__ import annotations

import re

import pytest

from eval.report.page.figure import Context
from eval.report.page.figures.cost import cost_figure
from eval.report.page.figures.floor import floor_figure
from eval.report.page.figures.pareto import pareto_figure
from eval.report.page.figures.quality_by_position import position_figure
from eval.report.page.figures.realisation import realisation_figure
from eval.report.page.four_panels import four_panels
from eval.report.page.series import all_series
from eval.report.run_facts import crossovers
from tests.eval.report.drawn_records import CPU, LAYOUTS, LENGTHS, MIXED, READ, WINDOW, drawn_records
from tests.eval.report.page.drawn import Panel
from tests.eval.report.plain import figures, says
from tests.eval.report.synthetic_records import summaries

RECORDS = drawn_records()
FOUND = {(layout, n): figures(RECORDS, layout, n) for layout in LAYOUTS for n in LENGTHS}
LONGEST = LENGTHS[-1]
PIXEL = 0.02
"""A tenth of a pixel, in relation."""


def context_of(records) -> Context:
    [summary] = summaries(records)
    return Context(summary, *crossovers(summary), all_series(LAYOUTS), ["prefillwall compare"])


CONTEXT = context_of(RECORDS)


def panel(figure, place, *kinds) -> Panel:
    return Panel(figure.panels[place], kinds)


def same_points(found: dict, expected: dict) -> None:
    """Places by what their tips begin with."""
    assert found.keys() == expected.keys()
    for name, place in expected.items():
        assert found[name] == pytest.approx(place, rel=PIXEL), name


@pytest.mark.parametrize(("place", "part", "said"), [(0, "whole", "whole prefill"), (1, "attention", "attention")])
def test_cost_has_each_median_on_its_range(place, part, said):
    drawn = panel(cost_figure(CONTEXT), place, "log", "log")
    assert drawn.title == ("Whole prefill", "Attention and linear layers")[place]
    assert drawn.labels == ("prompt length N (tokens)", "time")
    crossed = {tip for tip in drawn.tips if "crossover" in tip[1]}
    points = {tip: at for tip, at in drawn.points.items() if tip not in crossed}
    expected = {(layout, n): FOUND[layout, n][f"{part}_ms"] for layout in LAYOUTS for n in LENGTHS}
    linear = {("linear layers", n): FOUND["full", n]["linear_ms"] for n in LENGTHS} if place else {}
    all_ms = linear | expected
    assert len(points) == len(all_ms)
    for (name, tokens, time, samples), at in points.items():
        n = int(tokens.removesuffix(" tokens").replace(",", ""))
        ms, what = all_ms[name, n], "linear layers" if name == "linear layers" else said
        assert at == pytest.approx((n, ms[0]), rel=PIXEL)
        assert time.startswith(f"{what}: ") and says(time.removeprefix(f"{what}: "), *ms)
        of = FOUND["full" if name == "linear layers" else name, n]["samples"]
        assert samples == f"{of['linear' if name == 'linear layers' else part]} samples"
    ranges = drawn.upright()
    assert len(ranges) == len(all_ms)
    for (_, n), (_, low, high) in all_ms.items():
        assert any(one == pytest.approx((n, low, high), rel=PIXEL) for one in ranges), (n, low, high)


def test_cost_marks_both_crossovers_on_the_linear_layers():
    drawn = panel(cost_figure(CONTEXT), 1, "log", "log")
    for layout in ("full", MIXED):
        fit, counted = CONTEXT.measured[layout], CONTEXT.analytic[layout]
        a, c, _, _ = fit.coefficients
        marks = {tip: at for tip, at in drawn.points.items() if tip[0] == layout and "crossover" in tip[1]}
        near = [n for n in (fit.tokens, counted) if LENGTHS[0] / 4 <= n <= 4 * LONGEST]
        assert sorted(at[0] for at in marks.values()) == pytest.approx(sorted(near), rel=PIXEL)
        for (_, what, *more), (n, ms) in marks.items():
            assert ms == pytest.approx(a * n + c, rel=0.05)
            if what.startswith("measured"):
                assert n == pytest.approx(fit.tokens, rel=PIXEL)
                told = [float(one.replace(",", "")) for text in (what, *more) for one in re.findall(r"[\d,]+ ?%?", text)
                        if "%" not in one]  # fmt: skip
                assert told == pytest.approx([fit.tokens, fit.low, fit.high], rel=0.006)
            else:
                assert what == f"crossover by FLOPs: {counted:,} tokens" and n == pytest.approx(counted, rel=PIXEL)
    bands = sorted(drawn.lying("band"))
    fits = [CONTEXT.measured[layout] for layout in ("full", MIXED)]
    for (low, high), (fit_low, fit_high) in zip(bands, sorted((fit.low, fit.high) for fit in fits), strict=True):
        assert low == pytest.approx(fit_low, rel=PIXEL) and high <= fit_high * (1 + PIXEL)


def gain_tip(one: dict, what: str, n: int, tip: tuple[str, ...]) -> None:
    gain = one[f"{what.split()[0]}_gain"]
    assert tip[1] == f"{n:,} tokens, {what}"
    speed_up, useful = re.fullmatch(r"speed-up (\S+), useful FLOPs (\S+) fewer", tip[2]).groups()
    assert says(speed_up, gain["speed_up"]) and says(useful, gain["useful_reduction"])
    assert says(re.fullmatch(r"executed FLOPs (\S+) fewer", tip[3])[1], gain["executed_reduction"])
    assert says(re.fullmatch(r"realisation (.+)", tip[4])[1], gain["realisation"])


@pytest.mark.parametrize(("place", "what"), [(0, "attention part"), (1, "whole prefill")])
def test_realisation_has_reductions_to_the_right_and_speed_ups_upwards(place, what):
    drawn = panel(realisation_figure(CONTEXT), place, "log", "log")
    assert drawn.title == what.capitalize() and drawn.labels == ("fewer useful FLOPs", "speed-up")
    assert len(drawn.points) == 2 * len(LENGTHS)
    for tip, at in drawn.points.items():
        n = int(tip[1].split()[0].replace(",", ""))
        gain_tip(FOUND[tip[0], n], what, n, tip)
        gain = FOUND[tip[0], n][f"{what.split()[0]}_gain"]
        assert at == pytest.approx((gain["useful_reduction"], gain["speed_up"]), rel=PIXEL)
    for level in drawn.lines("level"):
        ratios = [y / x for x, y in level]
        assert ratios[0] == pytest.approx(ratios[-1], rel=2 * PIXEL)
    levels = [line[0][1] / line[0][0] for line in drawn.lines("level")]
    assert levels == pytest.approx([float(one.text.rstrip("%")) / 100 for one in drawn.of("level-name")], rel=PIXEL)
    for name in drawn.of("name"):  # beside the longest prompt's point of its own layout
        gain = FOUND[name.text, LONGEST][f"{what.split()[0]}_gain"]
        x, y = (float(name.get(key)) for key in "xy")
        hit = next(one for group in drawn.of("pt") for one in group if one.get("class") == "hit"
                   and group.get("aria-label").startswith(f"{name.text}; {LONGEST:,}"))  # fmt: skip
        assert abs(float(hit.get("cy")) - y) < 20 and abs(float(hit.get("cx")) - x) < 110, gain


def test_pareto_has_the_loss_over_the_time_and_the_frontier():
    for place, (field, kind) in enumerate((("kl_nats", "sqrt"), ("perplexity", "log"))):
        drawn = panel(pareto_figure(CONTEXT), place, "log", kind)
        assert drawn.labels[0] == f"time of {LONGEST:,} tokens" and ("KL" in drawn.labels[1]) == (field == "kl_nats")
        points = {tip[0]: at for tip, at in drawn.points.items()}
        expected = {layout: (FOUND[layout, LONGEST]["whole_ms"][0], FOUND[layout, READ[-1]]["quality"][field])
                    for layout in LAYOUTS}  # fmt: skip
        assert points.keys() == expected.keys()
        for layout, (ms, loss) in expected.items():
            assert points[layout] == pytest.approx((ms, loss), rel=PIXEL, abs=1e-3)
        best = [a for a in LAYOUTS if not any(expected[b][0] < expected[a][0] and expected[b][1] <= expected[a][1]
                                              for b in LAYOUTS)]  # fmt: skip
        (line,) = drawn.lines("frontier") or [[]]
        assert [x for x, _ in line] == pytest.approx(sorted(expected[a][0] for a in best), rel=PIXEL)
        assert drawn.lying() == [pytest.approx(FOUND[tip[0], LONGEST]["whole_ms"][1:], rel=PIXEL) for tip in drawn.tips]
        for layout, time, samples, perplexity, kl, top in drawn.tips:
            quality = FOUND[layout, READ[-1]]["quality"]
            assert says(time.partition(" at ")[0], *FOUND[layout, LONGEST]["whole_ms"])
            assert samples == f"{FOUND[layout, LONGEST]['samples']['whole']} samples"
            assert time.endswith(f" at {LONGEST:,} tokens") and perplexity == f"perplexity {quality['perplexity']:.3f}"
            assert says(kl.removeprefix("KL ").removesuffix(" nats"), quality["kl_nats"])
            assert says(top.removeprefix("same top token "), quality["top1_agreement"])


@pytest.mark.parametrize("device", ["NVIDIA H100 80GB HBM3", CPU])
def test_floor_divides_useful_flops_by_the_peak_or_by_the_best_rate(device):
    records = drawn_records(device)
    found = {(layout, n): figures(records, layout, n) for layout in LAYOUTS for n in LENGTHS}
    works = [(one["useful"][part], one[f"{part}_ms"][0]) for one in found.values() for part in ("attention", "linear")]
    rate = 989e12 if device != CPU else max(1e3 * flops / ms for flops, ms in works)
    figure = floor_figure(context_of(records))
    drawn = panel(figure, 0, "log", "linear")
    assert ("the peak of the H100 SXM" in figure.note) == (device != CPU) != ("no peak of this device" in figure.note)
    assert [tip[0] for tip in drawn.tips] == [*LAYOUTS, "linear layers"]
    floors = [drawn.x(float(one.get("x1"))) for one in drawn.of("floor")]
    dots = [drawn.x(float(hit.get("cx"))) for group in drawn.of("pt") for hit in group if hit.get("class") == "hit"]
    for tip, floor, dot, (low, high) in zip(drawn.tips, floors, dots, drawn.lying(), strict=True):
        part = "linear" if tip[0] == "linear layers" else "attention"
        one = found["full" if part == "linear" else tip[0], LONGEST]
        ms, least_ms = one[f"{part}_ms"], 1e3 * one["useful"][part] / rate
        assert (dot, floor) == pytest.approx((ms[0], least_ms), rel=2 * PIXEL)
        assert (low, high) == pytest.approx(ms[1:], rel=2 * PIXEL)
        assert says(tip[1].removeprefix("measured "), *ms) and tip[2] == f"{one['samples'][part]} samples"
        assert says(tip[3].removeprefix("floor "), least_ms)
        assert says(tip[4].removeprefix("floor / measured "), least_ms / ms[0])
        assert says(tip[5].removesuffix("/s of useful FLOPs"), 1e3 * one["useful"][part] / ms[0])


def test_what_asks_for_no_flops_has_no_floor():
    """As a record may say, whoever wrote it: an axis of ratios has no place for it."""
    records = drawn_records(CPU)
    for flops in (one["flops"] for one in records if one["layout"] == WINDOW and "flops" in one):
        flops["useful"]["attention"] = 0
    drawn = panel(floor_figure(context_of(records)), 0, "log", "linear")
    assert [tip[0] for tip in drawn.tips] == ["full", MIXED, "linear layers"]


def test_quality_by_position_has_each_stretch_of_the_longest_text():
    drawn = panel(position_figure(CONTEXT), 0, "linear", "sqrt")
    kept = {(layout, one["first"], one["last"]): one
            for layout in LAYOUTS for one in FOUND[layout, READ[-1]]["quality"]["by_position"]}  # fmt: skip
    assert len(drawn.points) == len(kept)
    for (layout, where, kl, perplexity), at in drawn.points.items():
        first, last = (int(one.replace(",", "")) for one in re.findall(r"[\d,]+", where))
        one = kept[layout, first, last]
        assert at == pytest.approx(((first + last) / 2, one["kl_nats"]), rel=PIXEL, abs=2e-3 * LONGEST * (at[1] < 1e-3))
        assert says(kl.removeprefix("KL ").removesuffix(" nats"), one["kl_nats"])
        assert perplexity == f"perplexity {one['perplexity']:.3f}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_four_panels_of_a_layout(layout):
    figure = four_panels(CONTEXT, layout)
    cost, share = panel(figure, 0, "log", "log"), panel(figure, 1, "log", "linear")
    for (_, tokens, time, _), at in cost.points.items():
        part, n = time.split(": ")[0], int(tokens.split()[0].replace(",", ""))
        ms = FOUND[layout, n][f"{part}_ms"]
        assert at == pytest.approx((n, ms[0]), rel=PIXEL) and says(time.split(": ")[1], *ms)
    assert len(cost.points) == 3 * len(LENGTHS)
    for ghost in cost.lines("ghost"):
        assert [y for _, y in ghost] == pytest.approx([FOUND["full", n]["attention_ms"][0] for n in LENGTHS], rel=PIXEL)
    assert len(cost.lines("ghost")) == (layout != "full")
    assert share.labels == ("N (tokens)", "attention / (attention + linear)")
    (by_flops,) = share.lines("line dotted")
    assert [y for _, y in by_flops] == pytest.approx([FOUND[layout, n]["flop_share"] for n in LENGTHS], abs=0.002)
    assert len(share.points) == len(LENGTHS)
    for (_, tokens, of_time, of_flops), at in share.points.items():
        one = FOUND[layout, n := int(tokens.split()[0].replace(",", ""))]
        assert at == pytest.approx((n, one["time_share"]), rel=PIXEL)
        assert says(of_time.removeprefix("of the time "), one["time_share"])
        assert says(of_flops.removeprefix("of the useful FLOPs "), one["flop_share"])
    if layout == "full":
        assert "the reference itself" in figure.panels[2].lower()
        return
    realised = panel(figure, 2, "log", "log")
    assert len(realised.points) == 2 * len(LENGTHS)
    for tip, at in realised.points.items():
        n, what = int(tip[1].split()[0].replace(",", "")), tip[1].partition("tokens, ")[2]
        gain_tip(FOUND[layout, n], what, n, tip)
        gain = FOUND[layout, n][f"{what.split()[0]}_gain"]
        assert at == pytest.approx((gain["useful_reduction"], gain["speed_up"]), rel=PIXEL)
    assert len(panel(figure, 3, "linear", "sqrt").points) == 3
