"""Faults where several prompts go through at once, where several models are compared, and in what is said of files."""

from __future__ import annotations

from tests.mutants.mutant import of

BATCH = "tests/eval/measure/test_batch.py"
SEVERAL = "tests/eval/report/test_several.py"
TRACED = "tests/eval/cost/flops/test_traced.py::test_prompts_of_a_batch_share_the_tiles_of_experts_alone"

MUTANTS = [
    *of(
        "eval/cost/flops/closed_form.py",
        TRACED,
        ("_executed_rows(product, batch * step.tokens)", "batch * _executed_rows(product, step.tokens)"),
        ("= 2 * model.head_macs * batch *", "= 2 * model.head_macs *"),
        ("batch * sum(cost.mixing_flops(layer.heads)", "sum(cost.mixing_flops(layer.heads)"),
        ("batch * sum(cost.selection_flops", "sum(cost.selection_flops"),
        ("tokens = batch * sum(", "tokens = sum("),
    ),
    *of(
        "eval/measure/plan.py",
        BATCH,
        ("(self.batch, tokens))", "(1, tokens))"),
        ('if kind == "quality" else', 'if kind != "prefill" else'),
        ("layer: sweep.batch * attention_flops", "layer: attention_flops"),
        ('count="executed", batch=batch).values()', 'count="executed").values()'),
    ),
    *of(
        "eval/measure/cells.py",
        BATCH,
        ('{"attention": sweep.batch * useful}', '{"attention": useful}'),
        ('count="executed", impl=sweep.impl, batch=sweep.batch)', 'count="executed", impl=sweep.impl)'),
    ),
    *of(
        "eval/measure/records/schema.py",
        BATCH,
        ('"dtype": run.dtype, "batch": run.batch}', '"dtype": run.dtype}'),
    ),
    *of(
        "eval/measure/records/identity.py",
        BATCH,
        ('"device", "dtype", "batch")', '"device", "dtype")'),
    ),
    *of(
        "eval/report/settings.py",
        BATCH,
        ('"dtype", "batch")', '"dtype")'),
    ),
    *of(
        "eval/report/layout_result.py",
        BATCH,
        ("1e3 * self.batch * self.tokens", "1e3 * self.tokens"),
    ),
    *of(
        "eval/report/several.py",
        SEVERAL,
        ("yield summary.config.name, count(summary.batch)", "yield summary.config.name, count(1)"),
        ('"speed_up", "useful_reduction"', '"useful_reduction", "speed_up"'),
        ("if folder in found:", "if False:"),
        ("if len(batches) > 1 else", "if batch > 1 else"),
    ),
    *of(
        "eval/commands/compare.py",
        SEVERAL,
        ("        refuse_unfit(request)", "        pass"),
        (
            "options.out / folder, console, options, cards, alone=False",
            "options.out, console, options, cards, alone=False",
        ),
    ),
    *of(
        "refmodel/beside.py",
        "tests/refmodel/test_beside.py",
        (".parent != own:", ".parent == own:"),
        ("spec is None or spec.origin is None or", "spec is None or"),
    ),
    *of(
        "eval/commands/save.py",
        "tests/eval/commands/test_save_command.py",
        ('if "layout" in own and "model_type" not in own:', "if own is None:"),
    ),
]
