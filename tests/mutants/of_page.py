"""Faults on the page: sentences, figures, scales."""

from __future__ import annotations

from tests.mutants.mutant import of

PAGE = "tests/eval/report/page/"
DRAWN, TOLD, FIGURES = f"{PAGE}test_drawn_figures.py", f"{PAGE}test_told.py", f"{PAGE}test_figures.py"

MUTANTS = [
    *of(
        "eval/report/page/page.py", FIGURES,
        ("if figure.name in made or figure.name in OWN_ANCHORS or", "if figure.name in made or"),
        ("if figure.name in made or figure.name in OWN_ANCHORS or", "if figure.name in OWN_ANCHORS or"),
    ),
    *of(
        "eval/report/page/layout_sentence.py", TOLD,
        ('f"{factor(gain.useful_reduction)} fewer useful', 'f"{factor(gain.executed_reduction)} fewer useful'),
        ('way = "rises" if change >= 0', 'way = "rises" if True'),
        ("percent(gain.realisation)} realised", "percent(gain.speed_up)} realised"),
        ("the whole prefill {factor(row.whole_gain.speed_up)}", "the whole prefill {factor(row.attention_gain.speed_up)}"),
        ("row, kl = read[-1], f", "row, kl = read[0], f"),
        ("share = percent(row.share_measured)", "share = percent(row.share_predicted)"),
        ("having(read[-1:], lambda one: one.quality)", "having(read[:1], lambda one: one.quality)"),
        ("quality.perplexity / reference.perplexity - 1", "quality.perplexity - reference.perplexity"),
    ),
    *of(
        "eval/report/page/figures/realisation.py", DRAWN,
        ("(gain.useful_reduction, gain.speed_up)))", "(gain.speed_up, gain.useful_reduction)))"),
        ('getattr(row, f"{part}_gain")', "row.whole_gain"),
        ("marks.beside(plot, [(series, *at) for series, at in at_end.items()])",
         "marks.beside(plot, [(series, *at[::-1]) for series, at in at_end.items()])"),
        ("[(start, level * start), (end, level * end)]", "[(start, start), (end, end)]"),
        ('"fewer useful FLOPs", labels', '"speed-up", labels'),
    ),
    *of(
        "eval/report/page/figures/floor.py", DRAWN,
        ("floor_ms = 1e3 * work / rate.flops_per_s", "floor_ms = ms.median + 1e3 * work / rate.flops_per_s"),
        ("_dot(series, series.label, ms, one.useful.attention, rate)", "_dot(series, series.label, ms, one.useful.whole, rate)"),
        ("rate, where = max(rates)", "rate, where = min(rates)"),
        ("percent(floor_ms / ms.median)", "percent(ms.median / floor_ms)"),
        ("Dot(series, name, ms.median, ms.low, ms.high", "Dot(series, name, ms.median, ms.median, ms.high"),
    ),
    *of(
        "eval/report/page/figures/pareto.py", DRAWN,
        ("(ms.median, getattr(lost, loss.field))", "(ms.low, getattr(lost, loss.field))"),
        ("{spread(ms)} at {tokens} tokens", "{spread(ms)} at {tokens}0 tokens"),
        ("loss_panel(context, found, loss, loss.title)", "loss_panel(context, found, KL, loss.title)"),
    ),
    *of(
        "eval/report/trades.py", "tests/eval/report/test_trades.py",
        ("points[name][1] < points[kept[-1]][1]", "points[name][1] > points[kept[-1]][1]"),
        ("max(costs, key=lambda one: len(costs[one]))", "next(iter(costs))"),
    ),
    *of(
        "eval/report/longest_common.py", "tests/eval/report/test_trades.py",
        ("rows[max(shared)]", "rows[min(shared)]"),
        ("set.intersection(", "set.union("),
    ),
    *of(
        "eval/report/longest_common.py", "tests/eval/report/test_printed_figures.py",
        ("lambda one: one.quality", "lambda one: one.whole_ms"),
    ),
    *of(
        "eval/report/page/placing.py", f"{PAGE}test_placing.py",
        ("+ _shared([box], names)\n", "\n"),
        ("covered < best[0]:", "covered > best[0]:"),
        ("right - width), left)", "right), left)"),
    ),
    *of(
        "eval/report/page/glance.py", f"{PAGE}test_page.py",
        ('element("div", *panels, class_=f"panels', 'element("div", panels[0], class_=f"panels'),
        ("    if not panels:\n        return Markup(\"\")\n", "    if not panels[1:]:\n        return Markup(\"\")\n"),
    ),
    *of(
        "eval/report/page/series.py", f"{PAGE}test_page.py",
        ("self.number // len(LIGHT) % 2 == 1", "False"),
        ("name if cut.count(name) == 1 else", "name if True else"),
    ),
    *of(
        "eval/report/page/figures/cost.py", DRAWN,
        ('having(rows, lambda one: one.attention_ms)\n        if not found', 'having(rows, lambda one: one.whole_ms)\n        if not found'),
        ("marks.whisker(plot, row.tokens, ms.low, ms.high))\n        drawn.append(marks.marker",
         "marks.whisker(plot, row.tokens, ms.low, ms.median))\n        drawn.append(marks.marker"),
        ("level = fit.linear_at(fit.tokens)", "level = 2 * fit.linear_at(fit.tokens)"),
        ("x, y = plot.at(analytic, fit.linear_at(analytic))", "x, y = plot.at(fit.tokens, fit.linear_at(analytic))"),
    ),
    *of(
        "eval/report/page/figures/quality_by_position.py", DRAWN,
        ("(bucket.first + bucket.last) / 2, kl", "bucket.last, kl"),
        ("found.append((series, with_buckets[-1]))", "found.append((series, with_buckets[0]))"),
        ("perplexity {bucket.perplexity:.3f}", "perplexity {kl:.3f}"),
    ),
    *of(
        "eval/report/page/four_panels.py", DRAWN,
        ("counted = [(row.tokens, share) for row, share in having(found, lambda one: one.share_predicted)]",
         "counted = [(row.tokens, share) for row, share in having(found, lambda one: one.share_measured)]"),
        ('f"of the useful FLOPs {percent(row.share_predicted)}"', 'f"of the useful FLOPs {percent(share)}"'),
        ("full = [(row.tokens, row.attention_ms.median) for row in context.summary.of(FULL)",
         "full = [(row.tokens, row.attention_ms.low) for row in context.summary.of(FULL)"),
        ('"attention_ms": "attention", "linear_ms": "linear"}', '"attention_ms": "linear", "linear_ms": "attention"}'),
    ),
    *of(
        "eval/report/page/labels.py", DRAWN,
        ("speed-up {factor(gain.speed_up)}, useful FLOPs {factor(gain.useful_reduction)}",
         "speed-up {factor(gain.useful_reduction)}, useful FLOPs {factor(gain.speed_up)}"),
        ("executed FLOPs {factor(gain.executed_reduction)}", "executed FLOPs {factor(gain.useful_reduction)}"),
        ('{ms / 1e3:,.6g} s" if ms >= 1e3', '{ms:,.6g} s" if ms >= 1e3'),
    ),
    *of(
        "eval/report/page/scales.py", FIGURES,
        ("abs(scale(kept[-1]) - scale(value)) >= gap", "abs(scale(kept[-1]) - scale(value)) >= 0"),
        ("return Scale(low / ratio, high * ratio, start, end, kind)", "return Scale(low * ratio, high / ratio, start, end, kind)"),
    ),
    *of(
        "eval/report/page/marks.py", DRAWN,
        ("(x_px, start), (_, end) = plot.at(x, low), plot.at(x, high)", "(x_px, start), (_, end) = plot.at(x, low), plot.at(x, low)"),
        ("plot.at(plot.x.scale.clip(x), y) for x in (low, high)", "plot.at(plot.x.scale.clip(x), y) for x in (low, low)"),
    ),
    *of(
        "eval/report/page/plot.py", DRAWN,
        ("return self.x.scale(x), self.y.scale(y)", "return self.x.scale(y), self.y.scale(x)"),
        ("self.x.words(value), class_", "self.x.words(2 * value), class_"),
    ),
    *of(
        "eval/report/page/seen_shares.py", f"{PAGE}test_seen_shares.py",
        ("np.maximum(low_t[:, None], edges[:-1]), 0)", "low_t[:, None], 0)"),
        ("np.mean([_share(head, edges)", "np.max([_share(head, edges)"),
    ),
]  # fmt: skip
