"""Faults in counts, floors, crossovers, timing and quality."""

from __future__ import annotations

from tests.mutants.mutant import of

COST = "tests/eval/cost/"
CLOSED, CARDS = f"{COST}flops/test_closed_form.py", f"{COST}test_cards.py"
CROSSOVER, CHANGES = f"{COST}test_crossover.py", f"{COST}test_sign_changes.py"

MUTANTS = [
    *of(
        "eval/cost/roofline.py", f"{CARDS}::test_the_two_times_of_a_floor_are_not_added",
        ("max(compute_ms, memory_ms))", "compute_ms + memory_ms)"),
    ),
    *of(
        "eval/cost/roofline.py", CARDS,
        ("moved.get(name, 0) / bandwidth\n", "moved.get(name, 0) / linear\n"),
        ('return moved.pop("attention", 0) - sum', 'return moved.get("attention", 0) - sum'),
        ("fall, room) - 1", "fall, room)"),
    ),
    *of(
        "eval/cost/break_even.py", f"{COST}test_break_even.py",
        ("break_evens(dear, cheap).stays_from", "break_evens(dear, cheap).first"),
        ("    if None in courses:\n        return None\n", "    if None in courses:\n        return math.inf\n"),
        ("AttentionCurve(one - other), AttentionCurve(other - one)", "AttentionCurve(other - one), AttentionCurve(one - other)"),
    ),
    *of(
        "eval/cost/predicted_rates.py", f"{COST}test_predicted_rates.py",
        ("key=lambda row: (row.depth + row.tokens, row.tokens_per_s)", "key=lambda row: row.tokens_per_s"),
        ("key=lambda row: (row.depth + row.tokens, row.tokens_per_s)", "key=lambda row: row.depth + row.tokens"),
        ("row.quant, row.setup.cards)", "row.quant)"),
        ("depth=depth, tokens_per_s=1.0", "tokens_per_s=1.0"),
        ("if not row.decode]", "]"),
    ),
    *of(
        "eval/commands/predict.py", "tests/eval/commands/test_predict_command.py",
        ("row.tokens / one.tokens_per_s", "one.tokens_per_s / row.tokens"),
        ("{one.low:,.0f} to {one.high:,.0f}", "{one.high:,.0f} to {one.low:,.0f}"),
        ("    if one.known:\n", "    if True:\n"),
    ),
    *of(
        "eval/cost/second_crossover.py", f"{COST}test_second_crossover.py",
        ("(cost.selection_flops - pair * cost.pairs)", "(cost.selection_flops - pair * cost.pairs - cost.state_flops)"),
        ("4 * one.heads.head_dim)", "2 * one.heads.head_dim)"),
        ("times * (cost", "(cost"),
        ("not exceeds(LONGEST_TOKENS)", "exceeds(LONGEST_TOKENS)"),
        ("return first_true(exceeds, settled)", "return first_true(exceeds, settled) - 1"),
        ("    if not exceeds(settled):\n", "    if True:\n"),
        ("return 1 + next", "return next"),
        ("    return long.pairs < 3 * short.pairs\n", "    return True\n"),
        (" or not course.quadratic[-1]", ""),
    ),
    *of(
        "eval/cost/post.py", f"{COST}test_post.py",
        ("ms = 1e3 / convention.flops_per_s", "ms = 1 / convention.flops_per_s"),
        ("self.attention_flops / (self.attention_flops + self.linear_flops)", "self.attention_flops / self.linear_flops"),
    ),
    *of(
        "eval/bench/chain.py", "tests/eval/bench/test_chain.py",
        ("(time.perf_counter() - start) / calls", "(time.perf_counter() - start)"),
        ("inputs[i % len(inputs)]", "inputs[0]"),
        ("    _wait(output)\n    return", "    return"),
    ),
    *of(
        "eval/measure/timing.py", "tests/eval/measure/test_timing.py",
        ('needed, free = memory.get("temp_bytes", 0) + memory.get("output_bytes", 0)', 'needed, free = memory.get("temp_bytes", 0)'),
        ("if ms > 1e3 * budget.long_s", "if ms > budget.long_s"),
        ("(spreading := _spreading(samples)) and time.perf_counter() < until_s", "(spreading := _spreading(samples))[:0]"),
        ("again_s = min(budget.again_s, ", "again_s = max(budget.again_s, "),
        ("key=lambda one: len(samples[one])", "key=lambda one: -len(samples[one])"),
        ("if spread_of(taken if len(taken) > 1 else reference)", "if spread_of(taken)"),
        ("if len(samples[reference]) == 1 < budget.max_samples:", "if not samples[reference]:"),
        ("            del samples[name]\n", ""),
        ("next(iter(samples.values()), [])", "next(iter(samples.values()))"),
        ("- 1e-3 * sum(map(sum, samples.values()))", ""),
        ("None if name in counted else warmups[name]", "warmups[name]"),
    ),
]  # fmt: skip
