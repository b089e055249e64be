"""Faults in what people read: rows, tables, files, fits."""

from __future__ import annotations

from tests.mutants.mutant import of

REPORT = "tests/eval/report/"
PRINTED, FITTED, DRAWN = (
    f"{REPORT}test_printed_figures.py",
    f"{REPORT}test_fitted_crossovers.py",
    f"{REPORT}test_plots.py",
)
BREAK_EVENS = (PRINTED, f"{REPORT}test_report_files.py::test_break_even_is_the_first_length_from_which_all_are_faster")

MUTANTS = [
    *of(
        "eval/report/settings.py", f"{REPORT}test_settings.py",
        ('"device", "device_kind", "cpu"', '"device", "cpu"'),
        ('"cores", "dtype", "batch")', '"cores", "batch")'),
        ('("weights", "config", "params")', '("config", "params")'),
        ('(one.kind == "attention" or _weights(one) == weights)', "_weights(one) == weights"),
        ("if len(values) > 1", "if len(values) > 2"),
    ),
    *of(
        "eval/report/metrics.py", PRINTED,
        ('"attention_share", "share_measured"', '"attention_share", "share_predicted"'),
        ('"attention_share_by_flops", "share_predicted"', '"attention_share_by_flops", "share_measured"'),
        ('_at(f"{count}.{part}")', '_at(f"useful.{part}")'),
        ('name = count if part == "whole"', 'name = count if part == "linear"'),
        ('{self.name: median, f"{self.name}_low": low, f"{self.name}_high": high}',
         '{self.name: median, f"{self.name}_low": high, f"{self.name}_high": low}'),
        ('_at(f"{part}_gain.{field}")', '_at(f"whole_gain.{field}")'),
        ('_at("quality.kl_nats"), quantity="KL', '_at("quality.perplexity"), quantity="KL'),
        ('_at(f"memory.{name}")', '_at("memory.planned_bytes")'),
        ('f"{value / 1e12:.0f}"', 'f"{value / 1e9:.0f}"'),
    ),
    *of(
        "eval/report/layout_result.py", PRINTED,
        ("statistics.median(samples_ms), min", "sum(samples_ms) / len(samples_ms), min"),
        ("min(samples_ms), max(samples_ms)", "min(samples_ms), sorted(samples_ms)[-2]"),
        ("return self.attention + self.linear + self.head", "return self.attention + self.linear"),
        ("return _ratio(self.speed_up, self.useful_reduction)", "return _ratio(self.speed_up, self.executed_reduction)"),
        ("self.attention_ms.median / (self.attention_ms.median + self.linear_ms.median)",
         "self.attention_ms.median / self.linear_ms.median"),
        ("useful.attention / (useful.attention + useful.linear)", "useful.attention / useful.whole"),
        ("self.useful.whole / self.whole_ms.median * 1e3", "self.useful.attention / self.whole_ms.median * 1e3"),
        ("result.quality.perplexity / full.quality.perplexity - 1", "full.quality.perplexity / result.quality.perplexity - 1"),
        ("return _ratio(before and getattr(before, figure), after and getattr(after, figure))",
         "return _ratio(after and getattr(after, figure), before and getattr(before, figure))"),
        ("(sum(n * getattr(part, edge)", "(sum(getattr(part, edge)"),
        ("min(part.samples for part, _ in parts)", "max(part.samples for part, _ in parts)"),
        ("MemoryUse(sum(planned) if len(planned) == 3", "MemoryUse(max(planned) if len(planned) == 3"),
        ('reduction("executed", part))', 'reduction("useful", part))'),
    ),
    *of(
        "eval/report/layout_result.py", f"{REPORT}test_summary.py",
        ("        attention += selection\n", ""),
        ("if len(timed) < len(cells):", "if not timed:"),
        ("    if result.asked != full.asked:\n        return result\n", ""),
        ('count == "executed" and any(UNTOLD', 'count == "useful" and any(UNTOLD'),
        ("or len(counted) < len(kernels)", "or not counted"),
    ),
    *of(
        "eval/report/number_format.py", (f"{REPORT}test_report_files.py::test_numbers_are_humane", PRINTED),
        ('scale, unit = (1e3, "s") if ms.median >= 1e3', 'scale, unit = (1, "s") if ms.median >= 1e3'),
        ('{1: "ms", 1e3: "s"}', '{1: "ms", 1e2: "s"}'),
        ("2 - math.floor", "1 - math.floor"),
        ('f"{100 * share:.1f} %"', 'f"{share:.1f} %"'),
        ("abs(float(f\"{value:.3g}\"))", "abs(value)"),
    ),
    *of(
        "eval/report/tables.py", PRINTED,
        ("if tokens > slower]", "]"),
        ("if speed_up <= 1), default=0)", "if speed_up <= 0.7), default=0)"),
        ("estimate / measured - 1", "measured / estimate - 1"),
        ("if row.tokens == longest]\n    buckets", "]\n    buckets"),
        ("(r.layout, count(r.tokens), duration(estimate), duration(measured), error)",
         "(r.layout, count(r.tokens), duration(measured), duration(estimate), error)"),
        ("not one.layout.is_full and getattr", "getattr"),
    ),
    *of(
        "eval/report/tables.py", BREAK_EVENS,
        ("(row.attention_gain.useful_reduction or 1) > 1)", "True)"),
        ("by_flops = break_even_tokens(summary.config, summary.under(layout))",
         "by_flops = break_even_tokens(summary.under(layout), summary.config)"),
    ),
    *of(
        "eval/report/tables.py", FITTED,
        ('basis = f"extrapolated from {span}" if fit.extrapolated', 'basis = f"extrapolated from {span}" if not fit.extrapolated'),
        ('fitted(fit.tokens), "-".join(map(fitted, fit.interval))', 'fitted(fit.low), "-".join(map(fitted, fit.interval))'),
        ("fit, by_flops = measured[layout.name], analytic[layout.name]",
         'fit, by_flops = measured[layout.name], analytic["full"]'),
    ),
    *of(
        "eval/report/crossover_fit.py", FITTED,
        ("np.quantile(crossing, (0.05, 0.5, 0.95)", "np.quantile(crossing, (0.025, 0.5, 0.975)"),
        ("np.quantile(crossing, (0.05, 0.5, 0.95)", "np.quantile(crossing, (0.1, 0.5, 0.9)"),
        ("shift + one_alpha * kernel.offset", "shift + one_alpha[0] * kernel.offset"),
        ("Curve(np.stack([n - self.offset, n**2])", "Curve(np.stack([n, n**2])"),
        ("one_alpha, one_beta = kernel.n_layers * curve", "one_alpha, one_beta = 1 * curve"),
    ),
    *of(
        "eval/report/tidy.py", PRINTED,
        ('"value": value.median, "low": value.low', '"value": value.low, "low": value.low'),
        ('"value": getattr(stretch, field)', '"value": stretch.perplexity'),
        ("break_even_tokens(summary.config, model)", "break_even_tokens(model, summary.config)"),
        ("fit, analytic = measured[layout.name], counted[layout.name]", 'fit, analytic = measured[layout.name], counted["full"]'),
    ),
    *of(
        "eval/report/plots.py", DRAWN,
        ('summary.of(layout), "share_predicted", layout', 'summary.of(layout), "share_measured", layout'),
        ("error = [[ms.median - ms.low], [ms.high - ms.median]]", "error = [[ms.high - ms.median], [ms.median - ms.low]]"),
        ('_line(whole, summary.of(layout), "whole_ms"', '_line(whole, summary.of(layout), "attention_ms"'),
        ("axes.fill_between(tokens, low, high", "axes.fill_between(tokens, values, high"),
        ("blocks[-1][0] > mean", "blocks[-1][0] < mean"),
        ("place // len(LIGHT) % 2", "place % 2"),
    ),
    *of(
        "eval/report/shown.py", f"{REPORT}test_shown.py",
        ("if not 0 <= place < len(found):", "if not 0 <= place <= len(found):"),
        ('record.kind != "attention"', "True"),
        ("QUALITY.of(summary))", "QUALITY.of(longest))"),
    ),
    *of(
        "eval/measure/notebook_bar.py", "tests/eval/measure/test_notebook_bar.py",
        ("round(_CELLS * share)", "round(_CELLS * share) + 1"),
        ('hasattr(ipython.get_ipython(), "kernel")', "True"),
        ("        super().advance(task_id, advance)\n        self._show()", "        super().advance(task_id, advance)"),
    ),
    *of(
        "eval/report/layout_result.py", f"{REPORT}test_metrics.py",
        ("1e3 * self.batch * self.tokens", "self.batch * self.tokens"),
    ),
    *of(
        "attention/shorthand.py", "tests/attention/test_shorthand.py",
        ('"k": 2**10', '"k": 1000'),
        ("    found = _COUNT.fullmatch", "    found = _COUNT.match"),
        ("(?![km])", ""),
        (",\\d{3})+", ",\\d+)+"),
    ),
]  # fmt: skip
