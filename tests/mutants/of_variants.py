"""Faults in what people write of attention, in what is made of it, and in what is said where it is no layout."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/attention/"
LAYOUT, SPELLING, FILE = (f"{HERE}test_{name}.py" for name in ("layout", "spelling", "layout_file"))
SPANS = f"{HERE}test_span_mixture.py"
CHANGES = "tests/eval/cost/test_sign_changes.py"
PIPES = "tests/test_pipes.py"

TESTING = "tests/eval/testing/"

MUTANTS = [
    *of(
        "eval/testing/runs_agree.py", f"{TESTING}test_runs_agree.py",
        ("longer[:, :prefix], atol", "longer[:, -prefix:], atol"),
        ("x[:, :prefix], inputs", "x[:, -prefix:], inputs"),
        ("at_once, *others = case.schedules()", "at_once, others = next(case.schedules()), []"),
        ("if n >= LEAST_TOKENS)", "if n > 0)"),
    ),
    *of(
        "eval/testing/assertions.py", f"{TESTING}test_variant_audit.py",
        ('if impl not in BACKENDS or BACKENDS[impl].counts != "not told":', "if impl not in BACKENDS or True:"),
    ),
    *of(
        "eval/testing/variant_audit.py", f"{TESTING}test_variant_audit.py",
        ("(DoesNotApply, CannotRun) as reason", "DoesNotApply as reason"),
        ('"holds" if "holds" in found else "does not apply"', '"holds"'),
        ('return "fails" if "fails" in found else "holds"', 'return "holds"'),
        ("except (AssertionError, ValueError):", "except AssertionError:"),
        ("if not _sees_all(variant, heads, n)", "if _sees_all(variant, heads, n)"),
    ),
    *of(
        "eval/testing/variant_audit.py", f"{HERE}test_left_out.py::test_an_audit_holds_it_to_what_it_owes",
        ("except DoesNotApply:\n        assert_steps_agree", "except TypeError:\n        assert_steps_agree"),
    ),
    *of(
        "eval/commands/audit.py", "tests/eval/commands/test_audit.py",
        ("int(not all(one.holds for one in found))", "int(not any(one.holds for one in found))"),
        ("list(dict.fromkeys(variant for", "list((variant for"),
    ),
    *of(
        "attention/sliding_window.py", (LAYOUT, f"{HERE}test_sliding_window.py"),
        ("if self.window < 1:", "if self.window < 0:"),
        ("span=(self.window,)", "span=(self.window + 1,)"),
        ("sink=(self.sinks,)", "sink=(0,)"),
    ),
    *of(
        "attention/span_mixture.py", SPANS,
        ("not in (1, heads.n_kv_heads, heads.n_heads)", "not in (1, heads.n_heads)"),
        ("SpanRule(rule.at_length(total_tokens))", "SpanRule(rule.at_length(total_tokens + 4))"),
        ("if not (rule.share or 1 <= rule.keys <= UNBOUNDED)", "if not (rule.share or rule.keys <= UNBOUNDED)"),
    ),
    *of(
        "attention/layout.py", LAYOUT,
        ("layers[p:] == layers[: n - p]", "layers[p:] == layers[p:]"),
        ("cycles, more = divmod(n_layers, size)", "cycles, more = divmod(n_layers, size + 1)"),
        ("if len(layout) != n_layers:", "if len(layout) > n_layers:"),
        ("        if count < 1:", "        if count < 0:"),
    ),
    *of(
        "attention/layout.py", "tests/eval/report/test_foreign_records.py",
        ("raise ValueError(one_line(said))", "raise ValueError(said)"),
    ),
    *of(
        "attention/layout_file.py", FILE,
        ("if gate > threshold", "if gate >= threshold"),
        ('{"threshold": 0.5} | layout', 'layout | {"threshold": 0.5}'),
        ("if len(rules) != 1:", "if len(rules) < 1:"),
        ("if isinstance(value, bool) or not", "if not"),
    ),
    *of(
        "attention/parameters.py", (SPELLING, SPANS),
        ("min(max(1, self.keys + int", "min(max(0, self.keys + int"),
        ("if Fraction(exact) == share else str(share)", "if Fraction(exact) != share else str(share)"),
        ("elif value != f.default:", "else:"),
    ),
    *of(
        "attention/call.py", LAYOUT,
        ("if not key or key in given:", "if not key:"),
        ("if f.default is dataclasses.MISSING and f.name not in given]", "if f.name not in given]"),
    ),
    *of(
        "attention/unknown.py", f"{HERE}test_unknown.py",
        ("if asked and one.lower().startswith(asked)]", "if False]"),
        ("(known, 0.6))", "(known, 1.0))"),
    ),
    *of("attention/cut.py", "tests/eval/report/test_foreign_records.py", ("_MOST_OF_A_LINE: Final = 1_000", "_MOST_OF_A_LINE: Final = 10_000")),
    *of(
        "attention/regular_file.py", PIPES,
        ("(stat.S_ISCHR,", "(stat.S_ISLNK,"),
        ("path.stat()", "path.lstat()"),
        ("except (OSError, ValueError):", "except OSError:"),
    ),
    *of(
        "attention/cost.py", CHANGES,
        ("np.clip(seen_t - span, 0, sink)", "np.minimum(seen_t - span, sink)"),
        ("np.arange(start + 1, start + tokens + 1)", "np.arange(start, start + tokens)"),
    ),
    *of(
        "attention/cost.py", f"{HERE}test_token_routed.py::test_executed_pairs_are_those_that_ran",
        ("counted_as(impl, q_pos_t.size", 'counted_as("auto", q_pos_t.size'),
    ),
    *of(
        "attention/exact_count.py", f"{HERE}test_exact_count.py",
        ("digit = digits[..., place] + carry", "digit = digits[..., place]"),
        ("-len(digits) % min(len(digits), MOST_AT_ONCE)", "len(digits) % min(len(digits), MOST_AT_ONCE)"),
    ),
]  # fmt: skip
