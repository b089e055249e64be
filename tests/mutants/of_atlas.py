"""Faults in the atlas: where each model's wall stands, as numbers, lines, a picture and measured."""

from __future__ import annotations

from tests.mutants.mutant import of

COST, FIGURE, MEASURED = (
    f"tests/eval/{name}.py" for name in ("cost/test_atlas", "report/test_atlas_figure", "report/test_atlas_measured")
)

COMMAND = "tests/eval/commands/test_cost_commands.py"

MUTANTS = [
    *of(
        "eval/cost/atlas.py", COST,
        ("        2 * model.linear_macs,\n", "        model.linear_macs,\n"),
        ("sign_changes(Whole(base), Whole(model))", "sign_changes(Whole(model), Whole(base))"),
        ("kv_cache_bytes(model, CACHE_TOKENS, storage.kv)", "kv_cache_bytes(model, CACHE_TOKENS, storage.weights)"),
        ("longest_fit_tokens(model, card, storage)", "longest_fit_tokens(model, card, Storage())"),
        ("limiting_share(model),", "1 - limiting_share(model),"),
        ('not in (*attention, "head")]', "not in attention]"),
        ("> (1 + 1e-12) * sum(", "< (1 + 1e-12) * sum("),
        ("return first_true(overtakes) if overtakes(FAR_TOKENS) else None", "return first_true(overtakes)"),
        ("return 2 * model.linear_macs + float", "return model.linear_macs + float"),
        ("float(attention_total(model, tokens)) / tokens", "float(attention_total(model, tokens))"),
        ("super().by_token(start, tokens) + self.per_token", "super().by_token(start, tokens)"),
        ("line + Fraction(self.per_token), square", "line, square"),
        ("roofline_crossover(model, card, under)", "roofline_crossover(model, card)"),
        ('("attention", "selection") if part in ms]', '("attention",) if part in ms]'),
        ("super().total(tokens) + self.per_token * tokens", "super().total(tokens)"),
    ),
    *of(
        "eval/commands/atlas.py", f"{COMMAND}::test_the_atlas_says_in_words_what_its_numbers_say",
        ('return "always"', 'return "never"'),
        ("if not changes.at:", "if changes.at:"),
        ('f"{found.limiting_share:.1%}"', 'f"{1 - found.limiting_share:.1%}"'),
        ('"runs": not found.model.cannot_run', '"runs": bool(found.model.cannot_run)'),
        ('_tokens(found.roofline_tokens, "none")', '_tokens(found.fits_tokens, "none")'),
        ("place(shape_named(name), base, one, storage)", "place(base, shape_named(name), one, storage)"),
    ),
    *of(
        "eval/report/atlas_strip.py", FIGURE,
        ("bisect(BOUNDS, attention_share(model, tokens))", "bisect(BOUNDS, 1 - attention_share(model, tokens))"),
        ("range(10, 21)", "range(10, 20)"),
        ('"·░▒▓█"', '"█▓▒░·"'),
        ("(0.10, 0.25, 0.50, 0.75)", "(0.10, 0.25, 0.60, 0.75)"),
    ),
    *of(
        "eval/report/atlas_figure.py", FIGURE,
        ("costs = [cost_per_token(one.model, n) / 1e9", "costs = [cost_per_token(one.model, n) / 1e6"),
        ("[cost_per_token(one.model, crossed) / 1e9]", "[cost_per_token(one.model, lengths[0]) / 1e9]"),
        ("if crossed and lengths", "if lengths"),
        ("f'{crossed:,}' if crossed else 'none'", "f'{crossed:,}' if crossed else '0'"),
        ('xscale="log", yscale="log"', 'xscale="log", yscale="linear"'),
        ('if path.suffix != ".html":', 'if path.suffix == ".html":'),
        ("{html.escape(cell)}", "{cell}"),
        ('zip(("th", *("td",) * len(table))', 'zip(("td", *("td",) * len(table))'),
    ),
    *of(
        "eval/report/atlas_measured.py", MEASURED,
        ("self.counted_tokens / self.timed.tokens - 1", "self.timed.tokens / self.counted_tokens - 1"),
        ("if PRESETS.get(model.name) != model:", "if PRESETS.get(model.name) is None:"),
        ("if model.cannot_run:", "if False:"),
        ("own = FULL if model.with_layout(FULL) == model else model.layout_name", "own = FULL"),
        ("quality_tokens=0, device", "quality_tokens=16, device"),
        ("tokens=lengths, quality", "tokens=None, quality"),
    ),
]  # fmt: skip
