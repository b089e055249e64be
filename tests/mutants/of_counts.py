"""Faults in what is counted, predicted and compiled: FLOPs, bytes, curves, efficiencies, code."""

from __future__ import annotations

from tests.mutants.mutant import of

COST = "tests/eval/cost/"
CLOSED, CARDS = f"{COST}flops/test_closed_form.py", f"{COST}test_cards.py"
CROSSOVER, CHANGES, VALIDATION = (f"{COST}test_{name}.py" for name in ("crossover", "sign_changes", "validation"))
INTERVAL, NAIVE, WORK = (f"{COST}efficiency/test_{name}.py" for name in ("interval", "naive", "work"))
LOWERING, COMMANDS = "tests/eval/lowering/", "tests/eval/commands/"
FORMATS, TIMES = f"{COST}flops/test_formats.py", f"{COST}test_time_crossover.py"
PACKED = f"{LOWERING}test_packed_programs.py"

MUTANTS = [
    *of(
        "eval/cost/flops/closed_form.py", CLOSED,
        ("sum(step.wants_logits for step in steps)", "len(steps)"),
        ("most_tiles(rows, product.copies, tile) * tile", "rows"),
        ("2 * d_model * tokens * product.rows_per_token", "2 * d_model * tokens"),
        ("layers * flops", "flops"),
    ),
    *of(
        "eval/cost/flops/traffic.py", CARDS,
        ("min(product.copies, step.tokens * product.rows_per_token)", "product.copies"),
        ("* (read + step.tokens)", "* read"), ("beside * (seen + step.tokens)", "beside * (read + step.tokens)"),
        ("(layer.kv_values - beside)", "layer.kv_values"),
    ),
    *of(
        "eval/cost/flops/traffic.py", FORMATS,
        ('moved["selection"] += len(steps) * layers * stored.mixer', 'moved["selection"] += len(steps) * stored.mixer'),
        ("for row in layer.parameters if row.of_mixer)", "for row in layer.parameters if row.component)"),
        ('moved["head"] += len(steps) * copy_bits', 'moved["head"] += copy_bits'),
        ("math.ceil(n_bits / 8)", "math.floor(n_bits / 8)"),
    ),
    *of(
        "eval/cost/flops/bits.py", FORMATS,
        ('"4.5bit": Fraction(9, 2)', '"4.5bit": Fraction(4)'),
        ("math.ceil(values * bits(name) / 8)", "int(values * bits(name) / 8)"),
    ),
    *of(
        "eval/cost/flops/formats.py", FORMATS,
        ("coding), max(row.copies, 1))", "coding), 1)"),
        ("return row.macs * BITS[weights]", "return row.macs * BITS['bf16']"),
        ("8 * stored / model.params", "stored / model.params"),
        ("        bits(self.kv)\n", "        coding_of(self.kv)\n"),
    ),
    *of(
        "eval/cost/roofline.py", TIMES,
        ('ATTENDING: Final = ("attention", "selection")', 'ATTENDING: Final = ("attention",)'),
        ("card.peak_flops_per_s(under.attention_dtype)", "card.peak_flops_per_s(under.products)"),
    ),
    *of(
        "eval/cost/time_crossover.py", TIMES,
        ("products=one.products, attention_dtype=one.attention", "products=one.attention, attention_dtype=one.products"),
        ("if not missing.keys() & set(rates))", "if missing.keys() & set(rates))"),
        ("dict.fromkeys((asked, *USUAL_RATES))", "dict.fromkeys((*USUAL_RATES, asked))"),
        ("    for dtype in asked:\n", "    for dtype in ():\n"),
    ),
    *of(
        "eval/cost/cards.py", TIMES,
        ("eight = SourcedValue(1979e12", "eight = SourcedValue(989e12"),
    ),
    *of(
        "eval/commands/crossover_card.py", f"{COMMANDS}test_storage.py",
        ("getattr(options, name) or usual", "usual"),
    ),
    *of(
        "eval/commands/crossover_card.py", f"{COMMANDS}test_refusals.py",
        ("        if getattr(options, name):\n", "        if name == 'weights' and getattr(options, name):\n"),
    ),
    *of(
        "eval/commands/crossover_time.py", f"{COMMANDS}test_storage.py",
        ("Rates(asked[\"products\"], asked[\"attention_dtype\"])", "Rates()"),
        ('if "memory_bytes" in card.figures else "unknown"', 'if "memory_bytes" in card.figures else None'),
        ("weights_record(models[0], storage.weights)", 'weights_record(models[0], "bf16")'),
    ),
    *of(
        "eval/commands/flops.py", f"{COMMANDS}test_storage.py",
        ("options.start + options.tokens, options.kv)", "options.tokens, options.kv)"),
        ("    if fits == 0:\n", "    if fits == 1:\n"),
    ),
    *of(
        "eval/lowering/programs.py", PACKED,
        ('if self.coding and self.kind == "training":', "if False:"),
        ("dtype_of(self.dtype), self.coding)", "dtype_of(self.dtype))"),
        ("return parse_coding(self.weights) if self.weights else None", "return parse_coding(self.weights or 'int4')"),
    ),
    *of(
        "eval/lowering/report.py", PACKED,
        ('if program.dtype == "bf16" and not program.weights else {}', 'if program.dtype == "bf16" else {}'),
        ("peaks = {program.weights or program.dtype: peak}", "peaks = {program.dtype: peak}"),
        ('by arithmetic." if guessed else ""', 'by arithmetic."'),
    ),
    *of(
        "eval/lowering/predicted_prefills.py", PACKED,
        ("[program.weights] if program.weights else [", "[program.dtype] if program.weights else ["),
    ),
    *of(
        "eval/cost/flops/tally.py", f"{COST}flops/test_tally.py",
        ("value * times for key", "value for key"),
        ("if isinstance(key, str))", ")"),
    ),
    *of(
        "eval/cost/crossover.py", CROSSOVER,
        ("first - 1 if exceeds(first - Fraction(1, 2)) else first", "first"),
        ("n = max(n, Fraction(0))", "n = Fraction(n)"),
        ("return 1.0 if per_token is None else", "return 0.0 if per_token is None else"),
        ("2 * linear_params(model, convention) * tokens))", "linear_params(model, convention) * tokens))"),
    ),
    *of(
        "eval/cost/curves.py", CHANGES,
        ("square * (2 * start + period)", "square * 2 * start"),
    ),
    *of(
        "eval/cost/curves.py", f"{COST}test_curves.py",
        ("(bend + 2 * ripple) // 4", "(bend + 2 * ripple) // 64"),
        ("if width > low:", "if width > 4 * low:"),
    ),
    *of(
        "eval/cost/bounded_keys.py", f"{COST}test_bounded_keys.py",
        ("limit**2 - visible_pairs(head, 1, limit)", "limit**2 + visible_pairs(head, 1, limit)"),
        ("math.ceil(2 * offset)", "math.ceil(offset)"),
        ("if span + sink < UNBOUNDED", "if span < UNBOUNDED - 1"),
    ),
    *of(
        "eval/cost/efficiency/interval.py", INTERVAL,
        ("math.ceil((len(z) + 1) * COVERAGE)", "math.ceil(len(z) * COVERAGE)"),
        ("if len(z) < FEWEST:", "if len(z) <= FEWEST:"),
        ("max(NORMAL, float(np.sort(z)[rank - 1]))", "float(np.sort(z)[rank - 1])"),
    ),
    *of(
        "eval/cost/efficiency/naive.py", NAIVE,
        ("float(_end(row) ** 2 - row.depth**2)", "float(_end(row) ** 2)"),
        ("if row.decode or len(", "if len("),
        ("min(others, key=_end), max(others, key=_end)", "others[0], others[-1]"),
    ),
    *of(
        "eval/cost/efficiency/work.py", WORK,
        ("row.depth + row.tokens // 2, 1, row.tokens", "row.depth + row.tokens, 1, row.tokens"),
        ("(row.depth + row.tokens / 2) / 8192", "row.depth / 8192"),
        ("weights // 2, times * cache // 2", "weights // 2, times * cache"),
    ),
    *of(
        "eval/cost/family_errors.py", f"{COST}test_family_errors.py",
        ("np.quantile(errors, 0.9)", "np.quantile(errors, 0.5)"),
        ("share + z**2 / (2 * of), z", "share + z**2 / of, z"),
        ("len(made) - len(errors)", "len(errors)"),
        ("[abs(one.error) for one in made if one.known]", "[one.error for one in made if one.known]"),
    ),
    *of(
        "eval/cost/validation.py", VALIDATION,
        ("self.tokens_per_s / self.row.tokens_per_s - 1\n\n    @property\n    def naive_error", "self.row.tokens_per_s / self.tokens_per_s - 1\n\n    @property\n    def naive_error"),
        ("self.high <= KNOWN_WITHIN * self.low", "self.high >= KNOWN_WITHIN * self.low"),
    ),
    *of(
        "eval/cost/prediction.py", f"{COST}test_prediction.py",
        ("floor.memory_ms / bandwidth)", "floor.memory_ms)"),
        ("if bounds.get(component, 1.0) < efficiency.high:", "if False:"),
        ("len(rows) < 5:", "len(rows) < 0:"),
    ),
    *of(
        "eval/lowering/occupancy.py", f"{LOWERING}test_occupancy.py",
        ("math.ceil(vgprs / target.vgpr_granule)", "math.floor(vgprs / target.vgpr_granule)"),
        ("taken = lds_bytes + target.reserved_lds_bytes", "taken = lds_bytes"),
        ("if lds_bytes > target.lds_bytes or waves > slots:", "if waves > slots:"),
        ("min(by_registers, target.max_waves)", "by_registers"),
    ),
    *of(
        "eval/lowering/verdict.py", f"{LOWERING}test_verdict.py",
        ("if kernel.lds_bytes > target.lds_bytes:", "if kernel.lds_bytes >= target.lds_bytes:"),
        ("if vendor.spills_are_faults:", "if not vendor.spills_are_faults:"),
        ("if needed < code.macs < 2 * needed:", "if needed <= code.macs < 2 * needed:"),
    ),
    *of(
        "eval/lowering/ptx.py", f"{LOWERING}test_ptx.py",
        ('_WARPS: Final = {"wgmma": 4, "mma": 1}', '_WARPS: Final = {"wgmma": 1, "mma": 1}'),
        ("32 * int(matrices[1])", "16 * int(matrices[1])"),
        ("[*starts, len(text)]", "[*starts, starts[-1]]"),
    ),
    *of(
        "eval/lowering/loops.py", (f"{LOWERING}test_machine_code.py", f"{LOWERING}test_ptx.py"),
        ("one.target <= one.address", "one.target < one.address - 10**9"),
        ("max(ends.get(one.target, 0), one.address)", "min(ends.get(one.target, one.address), one.address)"),
    ),
    *of(
        "eval/lowering/code_bounds.py", f"{LOWERING}test_code_bounds.py",
        ("loop.matrix > known[1].matrix", "loop.matrix < known[1].matrix"),
        ('+ loop.kinds.get("vector", 0)', ""),
    ),
    *of(
        "eval/measure/estimate.py", "tests/eval/measure/test_estimate.py",
        ("+ extra_s) / 60", ") / 60"),
        ("* cell.programs * len(cell.layouts)", "* len(cell.layouts)"),
        ('if cell.kind != "quality" else 0.0', "if cell.kind else 0.0"),
    ),
    *of(
        "eval/report/post_figure.py", f"{COST}test_post.py",
        ("[(one / largest) ** 0.5 for one in flops]", "[one / largest for one in flops]"),
    ),
]  # fmt: skip
