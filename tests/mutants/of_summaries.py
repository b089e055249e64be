"""Faults in what a report is made of: which records count, fits, floors and predictions, tables as text and on the page."""

from __future__ import annotations

from tests.mutants.mutant import of

REPORT = "tests/eval/report/"
SUMMARY, FILES, CARD = (f"{REPORT}test_{name}.py" for name in ("summary", "report_files", "on_card"))
FIT, FITTED = f"{REPORT}test_crossover_fit.py", f"{REPORT}test_fitted_crossovers.py"
MAPS = f"{REPORT}page/test_tile_maps.py"
PRINTED, PREDICTION = f"{REPORT}test_printed_figures.py", f"{REPORT}page/test_prediction.py"

MUTANTS = [
    *of(
        "eval/report/summary.py", (SUMMARY, PRINTED),
        ('if (r.status, r.kind, r.layout) == ("ok", kind, name)', "if (r.kind, r.layout) == (kind, name)"),
        ("reference or timed or self.results", "timed or self.results"),
        ("max((one.tokens for one in reference", "min((one.tokens for one in reference"),
        ("max(read, key=lambda r: r.time)", "min(read, key=lambda r: r.time)"),
        ("compete = len({cell for _, cell in cells}) < len(cells)", "compete = len(impls) > 1"),
        ("key=lambda layout: not layout.is_full", "key=lambda layout: layout.is_full"),
        ("record.impl in (*impls, NO_IMPL)", "record.impl in impls"),
        ("beside_full(one, full.get(one.tokens))", "beside_full(one, next(iter(full.values()), None))"),
        ("not apart and not any", "not any"),
        ('if kind not in ("attention", "prefill") or not record.flops', "if True"),
        ('timed if variant not in shown', "timed if variant in shown"),
    ),
    *of(
        "eval/report/linear_times.py", FIT,
        ("> CLEARLY * np.median(whole[n])", "> np.median(whole[n]) / CLEARLY"),
        ("if n not in foreign}", "if n not in foreign or True}"),
        ("if not summary.config.has_experts:", "if summary.config.has_experts:"),
    ),
    *of(
        "eval/report/least_squares.py", (FIT, FITTED),
        ("self.terms.shape[1] - len(self.terms)", "self.terms.shape[1]"),
        ("np.exp(self.misfit *", "np.exp(0 *"),
        ("alone = scaled.sum(-1) / (scaled**2).sum(-1)", "alone = 1 / scaled.mean(-1)"),
        ("better == better.max(-1, keepdims=True)", "better == better.min(-1, keepdims=True)"),
        ("terms[None] / times[:, None]", "terms[None] / np.sqrt(times[:, None])"),
    ),
    *of(
        "eval/report/on_card.py", (CARD, PREDICTION),
        ('in ("attention", "selection"))', 'in ("attention",))'),
        ("if name not in NOT_LINEAR) for one", "if name) for one"),
        ('percent(ms / (ms + linear))', "percent(ms / linear)"),
        ('else "4.5bit"', 'else "8bit"'),
        ("card.bandwidth_bytes_per_s / 1e9", "card.bandwidth_bytes_per_s / 1e12"),
        ('parts[full.name][0]["head"]', 'parts[full.name][-1]["attention"]'),
        ("sum(one.floor_ms for one in self.components)", "max(one.floor_ms for one in self.components)"),
    ),
    *of(
        "eval/report/page/prediction.py", PREDICTION,
        ('EDGES = ("low", "middle", "high")', 'EDGES = ("high", "middle", "low")'),
        ('percent(one.attention_ms / one.total_ms("middle"))', 'percent(one.attention_ms / one.floor_ms)'),
        ("if one.tokens == tokens]\n        title", "]\n        title"),
        ('"in bf16" if of.under.storage.weights == "bf16"', '"in bf16" if of.under.storage.weights != "bf16"'),
        ("percent(one.median_error), percent(one.coverage)", "percent(one.coverage), percent(one.median_error)"),
        ("middle, low, high, one.floor_ms, tip)", "low, low, high, one.floor_ms, tip)"),
    ),
    *of(
        "eval/report/table.py", (f"{REPORT}test_table.py", FILES),
        ('"---" if place in self.words else "---:"', '"---:" if place in self.words else "---"'),
        ("tuple(i for i, one in enumerate(places) if one", "tuple(one for one in places if one"),
        ("repeated = {*self.words, *self.keys}", "repeated = {*self.words}"),
        ("sum(1 + self._least(one) for one in (*parts[-1], place)) - 1 > room", "len(parts[-1]) > 3"),
        ('replace(part, note="") for part', "part for part"),
        ("if not more and value != NOTHING}", "if value != NOTHING}"),
        ('("|", "\\\\|"), ', ""),
    ),
    *of(
        "eval/report/page/html_tables.py", f"{REPORT}page/test_html_tables.py",
        ("one.swatch() if one else \"\", row[0]", "one.swatch() if one else \"\", row[-1]"),
        ("data_v=one.number if one else None", "data_v=one.number + 1 if one else None"),
        ('"words" if place in table.words else "figures"', '"figures" if place in table.words else "words"'),
    ),
    *of(
        "eval/report/page/figures/tile_maps.py", (MAPS, f"{REPORT}page/test_seen_shares.py"),
        ("min(max(lengths), MOST_TOKENS)", "min(min(lengths), MOST_TOKENS)"),
        ("useful, executed = (_of_full", "executed, useful = (_of_full"),
        ("_runs(found.kinds != Tile.SKIP)", "_runs(found.kinds == Tile.SKIP)"),
        ("_runs(shade_rc == shade)", "_runs(shade_rc >= shade)"),
        ("yield top, row - top,", "yield top, row - top + 1,"),
        ("SIDE / rows, SIDE / columns)", "SIDE / columns, SIDE / columns)",
         "a map has as many rows of cells as columns, so that both sides of a cell are the same"),
    ),
    *of(
        "eval/report/report_files.py", (f"{REPORT}test_reproduce.py", FILES),
        ("any(record.run.invocation is None", "all(record.run.invocation is None"),
        ('f"{place + 1}-" if several else ""\n        parts', 'f"{place}-" if several else ""\n        parts'),
        ("parts += pictures.get(table.title, [])", "parts += pictures.get(table.title, [])[:1]"),
    ),
    *of(
        "eval/report/page/page.py", f"{REPORT}page/test_told.py",
        ("layout_sentence(context.summary, series.name), data_v", "layout_sentence(context.summary, \"full\"), data_v"),
        ("scheme(PAGE_DARK, DARK)", "scheme(PAGE_DARK, LIGHT)"),
    ),
]  # fmt: skip
