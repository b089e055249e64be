"""Faults in what measured records are of, which of them are kept, and how foreign files and interrupts are met."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/eval/measure/"
FILE, DECODE = f"{HERE}records/test_file.py", f"{HERE}records/test_decode.py"
RESUME, INTERRUPT = f"{HERE}test_resume.py", f"{HERE}test_interrupt.py"
BENCH, PUBLISHED = "tests/eval/cost/test_llama_bench.py", "tests/eval/cost/test_published.py"
OTHER_PROGRAM = f"{RESUME}::test_so_is_what_another_program_measured"
KEPT = f"{RESUME}::test_what_is_of_something_else_is_measured_again_and_said"

MUTANTS = [
    *of(
        "eval/measure/records/identity.py", FILE,
        ('if not (record.kind == "attention" and name in _READ)}', "}"),
        ('if name in ("model", "layout", "tokens"):', 'if name in ("model", "layout", "tokens", "git_commit"):'),
        ('" ".join(str(value).split())', "str(value)"),
    ),
    *of(
        "eval/measure/records/identity.py", OTHER_PROGRAM,
        ('"device_kind", "cpu", "cores", "jax", "jaxlib"', '"device_kind", "cpu", "cores", "jaxlib"'),
        ('("config", "params", "code")', '("config", "params")'),
        ("if name in other and one[name] != other[name]", "if name in other and one[name] == other[name]"),
    ),
    *of(
        "eval/measure/records/identity.py", f"{HERE}records/test_identity.py",
        ('_NOT_SHAPE: Final = ("name", "layers",', '_NOT_SHAPE: Final = ("layers",'),
        ("dataclasses.replace(layer, mixer=None)", "layer"),
        ("np.asarray(tokens, np.int64)", "np.asarray(sorted(tokens), np.int64)"),
        ("+ hashlib.blake2b(file.read_bytes()).digest())", ")"),
    ),
    *of(
        "eval/measure/resume.py", RESUME,
        ("sweep.read_by(record.kind, record.tokens) if", "sweep.text.tokens if"),
        ("if record.tokens <= known else ()", "if record.tokens else ()"),
        ('if record.kind == "attention" else', 'if record.kind != "attention" else'),
    ),
    *of(
        "eval/measure/records/schema.py", KEPT,
        ('None if kind == "attention" else run.weights', "run.weights"),
    ),
    *of(
        "eval/measure/records/described.py", f"{HERE}records/test_described.py",
        ('return f"partial({_described(value.func)},{_described(value.args)},', 'return f"partial({_described(value.func)},'),
        ("value.__kwdefaults__, inside))", "value.__kwdefaults__))"),
        ("if not isinstance(getattr(type(value), name, None), cached_property)", ""),
        ("in sorted(value, key=repr))", "in value)"),
        ('return f"{{{\',\'.join(sorted(map(_described, value)))}}}"', 'return f"{{{\',\'.join(map(_described, value))}}}"'),
        ("if _at(module, name) is value:", "if module:"),
    ),
    *of(
        "eval/measure/records/file.py", FILE,
        ("    _duplicate(path, aside)\n", "    path.rename(aside)\n"),
        ("    fresh.unlink(missing_ok=True)\n", ""),
        ("next(one for one in free if not one.exists())", "next(free)"),
    ),
    *of(
        "eval/measure/interrupt.py", INTERRUPT,
        ("raises, self.told = self.raises or self.told, True", "raises, self.told = self.raises, True"),
        ("before.told |= ours.told", "before.told |= False"),
        ("told=isinstance(before, Told) and before.told", "told=False"),
        ("threading.current_thread() is threading.main_thread()", "True"),
        ("    if ours.told:\n        raise KeyboardInterrupt\n", ""),
        ("        signal.signal(signal.SIGINT, before)\n        if", "        if"),
        ("os.write(2, SAID)", "os.write(1, SAID)"),
    ),
    *of(
        "eval/measure/comparison_run.py", INTERRUPT,
        (
            "    sweep = planned(request)\n    refuse_unplanned(again, plan(sweep), layout_names(sweep))\n    with held():\n",
            "    with held():\n        sweep = planned(request)\n",
        ),
    ),
    *of(
        "eval/measure/plan.py", INTERRUPT,
        ("on_piece=breathe", "on_piece=lambda: None"),
    ),
    *of(
        "eval/measure/finite.py", f"{HERE}test_finite.py",
        ("~np.isfinite(", "np.isnan("),
    ),
    *of(
        "eval/measure/layers_apart.py", f"{HERE}test_layers_apart.py",
        ("compile_program(layer, own, tokens_bt, check=refuse_no_numbers)", "compile_program(layer, own, tokens_bt)"),
        ("max(0.0, timings[name].median_ms - ends_ms)", "timings[name].median_ms - ends_ms"),
    ),
    *of(
        "eval/measure/again.py", f"{HERE}test_again.py",
        ("if record.timing and not record.parts:", "if record.timing:"),
        ("any(spread > MOST_SPREAD for", "all(spread > MOST_SPREAD for"),
        ("if _turn_of(one) in shaken]", "if is_disturbed(one)]"),
        ('record.layout if record.kind == "apart" else ""', '""'),
        (" and n in (None, tokens)\n", "\n"),
        ('and name in ("", layout) and', "and"),
        ("if kind != DISTURBED and not any(", "if not any("),
        ("or (kind == DISTURBED != word.strip())", ""),
        ("not isinstance(words, list | tuple) or", "isinstance(words, str) or"),
    ),
    *of(
        "eval/measure/sweep.py", f"{HERE}test_again.py",
        (" - repeated\n", "\n"),
        ("[record for record in kept if record.cell in planned]", "kept"),
        ("kept = file.latest(record for", "kept = list(record for"),
    ),
    *of(
        "eval/measure/comparison_run.py", f"{HERE}test_again.py",
        ("    refuse_unplanned(again, plan(sweep), layout_names(sweep))\n", ""),
    ),
    *of(
        "eval/report/page/figure.py", "tests/eval/report/page/test_figure.py",
        ("for kind in kinds if kind in its)", "for kind in kinds)"),
        ("if record.kind in kinds and command", "if command"),
        ('" && ".join(of_each) or self.redraw', '" && ".join(of_each)'),
        ('or (dropped and not word.startswith("-"))', ""),
        ('return shlex.join(kept if "--resume" in kept else [*kept, "--resume"])', "return shlex.join(kept)"),
    ),
    *of(
        "eval/measure/progress.py", "tests/eval/report/test_comparison.py",
        ("if sweep.quality_tokens else ()", "if True else ()"),
    ),
    *of(
        "eval/measure/default_sweep.py", f"{HERE}test_plan.py",
        ("or asked or layouts", "or layouts"),
        ("or whole is not None", ""),
    ),
    *of(
        "eval/measure/plan.py", f"{HERE}test_plan.py",
        ("tokens < max(self.whole_lengths)", "tokens > max(self.whole_lengths)"),
        ("or tokens in self.whole_lengths", ""),
    ),
    *of(
        "eval/measure/records/bounds.py", DECODE,
        ('"tokens": (1, MOST_TOKENS)', '"tokens": (0, MOST_TOKENS)'),
        ("MOST_TOKENS: Final = 2**31 - 2", "MOST_TOKENS: Final = 2**31 - 1"),
        ("except OverflowError:", "except ZeroDivisionError:"),
        ('word.endswith("_bytes")', 'word.endswith("_byte")'),
        ('name.startswith("flops.")', 'name.startswith("flop.")'),
        ('re.sub(r"\\[\\d+\\]$", "", name)', "name"),
    ),
    *of(
        "eval/measure/records/decode.py", DECODE,
        ("-ends_ms <= ms < 0", "ms < 0"),
        ('read_value(str, key, f"a name in {name}")', "key"),
    ),
    *of(
        "eval/cost/llama_bench.py", BENCH,
        ("if bool(prompt) == bool(generated):", "if not prompt and not generated:"),
        ("DEFAULT_MICRO_BATCH), 1)", "DEFAULT_MICRO_BATCH), 0)"),
        ("        ran = ran[:1]\n", "        pass\n"),
        ("if len(set(ran)) > 1:", "if len(set(ran)) > 2:"),
        ("names[place] for place in places", "names[0] for place in places"),
        ('{"M": 1e6, "B": 1e9}', '{"M": 1e9, "B": 1e6}'),
        ("< 2e-3]", "< 2e-1]"),
        ("for name in (stem, plain) if", "for name in (plain,) if"),
        ("value not in (None, \"\")", "value is not None"),
        ("except (ValueError, RecursionError) as error:", "except ValueError as error:"),
    ),
    *of(
        "eval/cost/row_fields.py", BENCH,
        ("if isinstance(value, int) and not isinstance(value, bool):", "if isinstance(value, int):"),
        ("or not found.isprintable()", ""),
        ("except (TypeError, ValueError, OverflowError):", "except (TypeError, ValueError):"),
    ),
    *of(
        "eval/cost/published_setup.py", PUBLISHED,
        ('r"(vulkan)|rocm|hip"', 'r"(vulkan)|rocm|hip|cuda"'),
        ('r"[^@]+@\\w+:.*?([^/]*)\\.log"', 'r".*?([^/]*)\\.(?:log|json)"'),
    ),
    *of(
        "eval/cost/published.py", PUBLISHED,
        ("    if device and not found:", "    if False:"),
        ("card_of_device(device) or default", "default or card_of_device(device)"),
        ("tokens > fields.MOST_PASSES * setup.micro_batch", "tokens > fields.MOST_PASSES * setup.micro_batch * 2**9"),
    ),
    *of(
        "eval/quality/divergence.py", "tests/eval/quality/test_divergence.py",
        ("for logits in (variant_tv, reference_tv))", "for logits in (reference_tv, variant_tv))"),
        ("if not mean_nats < math.log(MOST_PERPLEXITY):", "if not mean_nats < 1.01 * math.log(MOST_PERPLEXITY):"),
        ("tokens.nll_nats - tokens.full_nll_nats", "tokens.nll_nats"),
        ("Interval(ratio.low - 1, ratio.high - 1)", "ratio"),
        ("int(departs.argmax()) + 1", "int(departs.argmax())"),
        ("np.asarray(tokens.top1_agrees) == 0", "np.asarray(tokens.top1_agrees) != 0"),
        ("np.quantile(tokens.kl_nats, 0.99)", "np.quantile(tokens.nll_nats, 0.99)"),
        ("math.exp(min(one, most))", "math.exp(one)"),
    ),
    *of(
        "eval/quality/bootstrap.py", "tests/eval/quality/test_bootstrap.py",
        ("/ sizes_b[drawn_db].sum(-1)", "/ values_mt.shape[1]"),
        ("if len(starts) < LEAST_BLOCKS:", "if len(starts) <= LEAST_BLOCKS:"),
        ("BLOCK_TOKENS: Final = 64", "BLOCK_TOKENS: Final = 2"),
        ("[(1 - INSIDE) / 2, (1 + INSIDE) / 2]", "[1 - INSIDE, INSIDE]"),
        ("np.random.default_rng(seed)", "np.random.default_rng(0)"),
    ),
]  # fmt: skip
