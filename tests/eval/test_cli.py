"""The command line as a whole: what it writes where, what it says to bad input, how it ends."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from jax.errors import JaxRuntimeError
from rich.progress import Progress
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import eval.commands.cards
import eval.commands.generate
import eval.commands.quality
import eval.sweep
from eval import records
from eval.cli import COMMANDS, build_parser, commands_of, main
from eval.reason import WANTED, refusal
from refmodel.source import Model, open_model
from tests.eval import synthetic_records

TINY = ["compare", "--model", "tiny-dense", "--layouts", "swa(16)", "--tokens", "32", "64"]

QUICK = {
    "compare": ("--model", "tiny-dense", "--layouts", "swa(16)", "--tokens", "32", "--out", "out"),
    "quality": ("--model", "tiny-moe", "--layouts", "routed(5|full)", "swa(7)", "--tokens", "41"),
    "generate": ("word3 word5", "--new", "7"),
    "flops": ("--model", "tiny-dense", "--tokens", "9", "--no-compile"),
    "crossover": ("--layouts", "full"),
    "variants": ("swa(3)", "--draw", "5"),
    "models": (),
    "cards": (),
    "post": ("--layouts", "full", "--tokens", "1024"),
    "validate": (),
}
"""Words with which each command is quick; `NOT_RUN` says why some have none."""

NOT_RUN = {
    "report": "needs the records of a run, see test_a_report_is_drawn_again_from_records_alone",
    "lower": "needs the compiler plugin of the extra rocm-compile",
    "completion": "prints a script, not figures",
}


def status_of(argv: list[str]) -> int:
    """The exit status, also where argparse ends the process itself."""
    try:
        return main(argv)
    except SystemExit as stop:
        return stop.code


@pytest.fixture
def with_words(monkeypatch) -> Model:
    """The model that `generate` opens: random weights, and a tokenizer of made-up words."""
    words = {"</s>": 0} | {f"word{i}": i for i in range(1, 257)}
    model = open_model("tiny-dense")
    model = Model(model.config, model.params, Tokenizer(WordLevel(words, unk_token="word1")), model.weights)
    model.tokenizer.pre_tokenizer = Whitespace()
    monkeypatch.setattr(eval.commands.generate, "running_model", lambda *_: model)
    monkeypatch.setattr(eval.commands.generate, "tokenizer_here", lambda _: model.tokenizer)
    return model


def test_every_command_is_run_below_or_has_a_reason():
    assert set(QUICK) | set(NOT_RUN) == set(COMMANDS) and not set(QUICK) & set(NOT_RUN)


@pytest.mark.parametrize("command", QUICK)
def test_json_is_all_that_stdout_gets_and_names_its_conventions(
    command, capsys, tmp_path, monkeypatch, with_words, fast_compile
):
    monkeypatch.chdir(tmp_path)
    assert main([command, *QUICK[command], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["command"] == command
    assert record["conventions"] and all(record["conventions"])


def test_compare_leaves_records_and_a_report_and_never_overwrites(tmp_path, capsys, fast_compile):
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.md").read_text().count("swa(16)") > 3
    assert json.loads((tmp_path / "report.json").read_text())["invocation"] == shlex.join(
        ["prefillwall", *TINY, "--out", str(tmp_path)]
    )
    assert f"report: {tmp_path / 'report.md'}" in capsys.readouterr().out
    first = (tmp_path / "records.jsonl").read_bytes()
    assert main([*TINY, "--out", str(tmp_path), "--resume", "--json"]) == 0
    assert (tmp_path / "records.jsonl").read_bytes() == first
    record = json.loads(capsys.readouterr().out)
    assert {(row["layout"], row["tokens"]) for row in record["rows"]} == {
        (layout, tokens) for layout in ("full", "swa(16)") for tokens in (32, 64)
    }
    assert main([*TINY, "--out", str(tmp_path), "--tokens", "32"]) == 0
    assert [path.read_bytes() for path in tmp_path.glob("records.2*.jsonl")] == [first]


@pytest.mark.slow
def test_a_report_is_drawn_again_from_records_alone(tmp_path, capsys, fast_compile):
    """Of the run before, into a folder of its own, and never over other records."""
    common = ["compare", "--model", "tiny-dense", "--tokens", "32", "--out", str(tmp_path)]
    for layout in ("swa(16)", "swa(7)"):
        assert main([*common, "--layouts", layout]) == 0
    (aside,) = tmp_path.glob("records.2*.jsonl")
    assert f"kept as {aside};" in (said := capsys.readouterr()).err and "kept as" not in said.out
    assert "swa(16)" not in (tmp_path / "report.md").read_text()
    assert main(["report", str(aside)]) == 0
    drawn = aside.with_suffix("") / "report.md"
    assert f"report: {drawn}" in capsys.readouterr().out and "swa(16)" in drawn.read_text()
    assert drawn.with_name("records.jsonl").read_bytes() == aside.read_bytes()
    assert "swa(16)" not in (tmp_path / "report.md").read_text()
    assert main(["report", str(aside), "--out", str(tmp_path)]) == 2
    assert "holds other records" in capsys.readouterr().err
    (tmp_path / "report.html").unlink()
    assert main(["report", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {row["layout"] for row in record["rows"]} == {"full", "swa(7)"} and (tmp_path / "report.html").exists()
    for text, layout, drew in (
        ((tmp_path / "report.md").read_text(), "swa(7)", ["report", str(tmp_path), "--json"]),
        (drawn.read_text(), "swa(16)", ["report", str(aside)]),
    ):
        measured = shlex.join(["prefillwall", *common, "--layouts", layout])
        assert f"{measured}\n{shlex.join(['prefillwall', *drew])}\n" in text


@pytest.mark.parametrize(("kind", "layout"), [("prefill_against_transformers", "full"), ("prefill", "7*full")])
def test_a_report_that_cannot_be_drawn_leaves_nothing(kind, layout, tmp_path, capsys):
    records.append(
        tmp_path / "other.jsonl", synthetic_records.record("prefill", "full", 5) | {"kind": kind, "layout": layout}
    )
    assert main(["report", str(tmp_path / "other.jsonl")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["other.jsonl"]


def test_the_version_is_asked_for_only_where_it_is_wanted(capsys, monkeypatch):
    """Sources on a path are no installed package, and run all the same."""

    def ended(*words: str) -> tuple[int | str | None, str]:
        with pytest.raises(SystemExit) as end:
            main(words)
        return end.value.code, "".join(capsys.readouterr())

    assert ended("--version") == (0, f"prefillwall {importlib.metadata.version('prefillwall')}\n")

    def not_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    code, said = ended("--version")
    assert code == 2 and "once the package is installed" in said and said.count("\n") == 1
    assert main(["models"]) == 0


def test_what_is_said_of_a_missing_file_fits_one_that_is_read():
    assert "to be read it has to exist" in refusal(FileNotFoundError(2, "No such file or directory", "x"))


def test_the_plan_is_made_once_and_told_before_anything_is_measured(tmp_path, capsys, monkeypatch):
    planned, plan = [], eval.sweep.plan
    monkeypatch.setattr(eval.sweep, "plan", lambda sweep: planned.append(sweep) or plan(sweep))

    def measure(*_):
        said = capsys.readouterr().out
        assert "\nabout " in said and "GFLOP/s of a matrix product just now\nrecords: " in said
        raise KeyboardInterrupt

    monkeypatch.setattr(eval.sweep, "MEASURES", dict.fromkeys(eval.sweep.MEASURES, measure))
    assert main([*TINY, "--out", str(tmp_path)]) == 130 and len(planned) == 1
    assert not (tmp_path / "records.jsonl").exists()


@pytest.mark.slow
def test_a_run_that_lacks_nothing_says_so(tmp_path, capsys, fast_compile):
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    assert "GFLOP/s of a matrix product just now" in capsys.readouterr().out
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 0
    assert "nothing is missing" in (said := capsys.readouterr().out) and "GFLOP/s of a" not in said


def test_resuming_another_model_or_a_foreign_file_is_refused_before_anything_runs(tmp_path, capsys):
    records.append(
        tmp_path / "records.jsonl", {"kind": "prefill", "layout": "full", "tokens": 5, "status": "ok", "model": "other"}
    )
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 2
    assert "holds records of model 'other', this run's is 'tiny-dense'" in capsys.readouterr().err
    (tmp_path / "records.jsonl").write_text('{"kind": "prefill_against_transformers"}\n')
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 2
    assert "is not a record of a comparison: no 'layout'" in capsys.readouterr().err


BAD_INPUT = [
    (["compere"], "no command 'compere' (did you mean 'compare'?); accepted: compare, quality"),
    ([], "a command is wanted; accepted: compare"),
    (["flops", "--layot", "full"], "no option '--layot' (did you mean '--layout'?); accepted: --help, --model"),
    (["models", "--jsom=1"], "no option '--jsom' (did you mean '--json'?)"),
    (["models", "tiny"], "one word too many: 'tiny'"),
    (["completion", "csh"], "no shell 'csh' (did you mean 'zsh'?); accepted: bash, zsh, fish"),
    # models
    (["compare", "--model", "smollm"], "no model 'smollm': no such path (did you mean 'smollm2-135m'?); accepted: "),
    (["compare", "--model", "qwen3-235b-a22b"], "needs 940.4 GB of weights in float32"),
    (["compare", "--model", "models/none.gguf"], "no model 'models/none.gguf': no such path"),
    (["quality", "--model", "gemma3-27b"], "gemma3-27b is known by its shape alone"),
    (["generate", "x", "--model", "gemma3-27b"], "gemma3-27b is known by its shape alone"),
    (["lower", "--model", "gemma3-27b"], "gemma3-27b is known by its shape alone"),
    (["flops", "--model", "gema3-27b"], "no model 'gema3-27b' (did you mean 'gemma3-27b'?); accepted: qwen3-30b-a3b"),
    (["crossover", "--model", "qwen"], "no model 'qwen' (did you mean"),
    (["flops", "--model", "qwen3-30b"], "no model 'qwen3-30b' (did you mean 'qwen3-30b-a3b'?)"),
    (["variants", "--model", "tiny-dens"], "no model 'tiny-dens' (did you mean 'tiny-dense'?)"),
    (["quality", "--model", "bare"], "bare: no readable tokenizer.json here"),
    (["flops", "--model", "binary"], "binary"),
    (["generate", "x", "--model", "tiny-dense"], "no tokenizer; give a checkpoint"),
    (["quality", "--model", "tiny-dense", "--text", "text"], "no tokenizer to read --text with"),
    # layouts
    (["compare", "--model", "tiny-dense", "--layouts", "swa(0)"], "window must be at least 1 key"),
    (["compare", "--model", "tiny-dense", "--layouts", "99999999999999999999*full"], "1 to 4"),
    (["crossover", "--layouts", "swaa(3)"], "no attention variant 'swaa' (did you mean 'swa'?); accepted: full, swa("),
    (["flops", "--layout", "evict(streaming, window=64)"], "gives 'window' which it does not have; accepted: evict("),
    (["flops", "--layout", "evict(snapkv, budgt=64)"], "(did you mean 'budget'?); accepted: evict("),
    (["flops", "--layout", "evict(snapvk)"], "no eviction policy 'snapvk' (did you mean 'snapkv'?)"),
    (["flops", "--layout", "7*swa(3)"], "does not divide 48"),
    (["variants", "swa(nan)"], "window must be a whole number, got 'nan'"),
    # lengths and other numbers
    (["compare", "--model", "tiny-dense", "--tokens", "999999"], "999999 are asked for"),
    (["compare", "--tokens", "0"], "a whole number of at least 1 is wanted, got '0'"),
    (["flops", "--no-compile", "--tokens", "99999999999999999999"], "at most 2,147,483,646 is wanted, got '99"),
    (["variants", "full", "--tokens", "2147483647"], "at most 2,147,483,646 is wanted, got '2147483647'"),
    (["quality", "--tokens", "1e12"], "a whole number of at least 2 is wanted, got '1e12'"),
    (["flops", "--start", "2_147_483_647"], "at most 2,147,483,646 is wanted"),
    (["flops", "--tokens", "-5"], "a whole number of at least 1 is wanted, got '-5'"),
    (["crossover", "--tokens", "64k"], "a whole number of at least 1 is wanted, got '64k'"),
    (["post", "--tokens", "nan"], "a whole number of at least 1 is wanted, got 'nan'"),
    (["quality", "--tokens", "1"], "a whole number of at least 2 is wanted, got '1'"),
    (["variants", "--draw", "-1"], "a whole number of at least 0 is wanted, got '-1'"),
    (["variants", "--draw", "5000"], "a picture has 1 to 512 tokens, got 5000"),
    (["flops", "--start", "-1"], "a whole number of at least 0 is wanted, got '-1'"),
    (["flops", "--tokens", "5", "--start", "9", "--chunk", "2"], "leave --start out"),
    (["compare", "--quality-tokens", "1"], "at least 2 tokens are wanted, got '1'"),
    (["compare", "--seed", "99999999999999"], "from 0 to 2**32 - 1"),
    (["generate", "x", "--temperature", "nan"], "a number of at least 0 is wanted, got 'nan'"),
    (["generate", "x", "--temperature", "-1"], "a number of at least 0 is wanted, got '-1'"),
    (["generate", "x", "--temperature", "inf"], "a number of at least 0 is wanted, got 'inf'"),
    (["generate", "x", "--new", "0"], "a whole number of at least 1 is wanted, got '0'"),
    # words out of a list
    (["compare", "--impl", "flash"], "no --impl 'flash'; accepted: auto, dense"),
    (["flops", "--impl", "blockwize"], "no --impl 'blockwize' (did you mean 'blockwise'?)"),
    (["compare", "--dtype", "float16"], "no --dtype 'float16' (did you mean 'bfloat16'?); accepted: float32, bfloat16"),
    (["lower", "--dtype", "int8"], "no --dtype 'int8'; accepted: bf16, f16, f32"),
    (["lower", "--target", "gfx1200"], "no --target 'gfx1200' (did you mean 'gfx1201'?); accepted: gfx1201"),
    (["lower", "--programs", "prefil"], "no --programs 'prefil' (did you mean 'prefill'?)"),
    (["flops", "--card", "r97"], "no card 'r97' (did you mean 'r9700'?)"),
    (["flops", "--card", "h100"], "no card 'h100' (did you mean 'h100-sxm'?)"),
    (["flops", "--weights", "5bit"], "no --weights '5bit' (did you mean"),
    (["crossover", "--convention", "layer"], "no --convention 'layer' (did you mean 'layers'?)"),
    (["crossover", "--pairs", "all"], "no --pairs 'all'; accepted: causal, half-square, square"),
    (["compare", "--model", "tiny-dense", "--device", "gpu"], "JAX runs on cpu here; accepted: cpu, or no --device"),
    (["compare", "--impl", "cudnn"], "cudnn runs on NVIDIA GPUs, this is cpu; accepted here: auto, dense, blockwise"),
    (["compare", "--impl", "mosaic"], "mosaic runs on sm_90, this is cpu"),
    (["compare", "--model", "tiny-dense", "--quality-tokens", "41000"], "within the 40,960 tokens that tiny-dense is"),
    (["report", "nowhere"], "no records at nowhere; the folder of a comparison is wanted, or its records.jsonl"),
    # files
    (["compare", "--model", "tiny-dense", "--text", "/nowhere"], "'/nowhere' as UTF-8: No such file or directory\n"),
    (["quality", "--text", "binary"], "cannot read the text 'binary' as UTF-8"),
    (["compare", "--model", "tiny-dense", "--out", "/proc/nowhere"], "/proc/nowhere: No such file or directory: there"),
    (["compare", "--model", "tiny-dense", "--out", "text"], "text: File exists: there is a file of this name; a"),
    (["crossover", "--layouts", "none.json"], "cannot read layout file none.json: No such file or directory\n"),
    (["post", "--figure", "squares"], "ends in .png, .svg, .pdf is wanted, got 'squares'"),
    (["post", "--figure", "bare"], "is wanted, got 'bare'"),
    (["post", "--figure", "/proc/nowhere/squares.png"], "/proc/nowhere: "),
    (["variants", "--figure", "variants.svg"], "ends in .png is wanted, got 'variants.svg'"),
    (["variants", "swa(3)", "--draw", "0", "--figure", "text/x.png"], "text: "),
    (["validate", "--data", "nowhere.csv"], "cannot read the published rates nowhere.csv: No such file"),
    (["validate", "--data", "bare"], "cannot read the published rates bare"),
    (["validate", "--data", "text"], "text: column "),
    (["cards", "--card", ""], "no card ''; accepted: r9700, "),
    (["flops", "--card", ""], "no card ''; accepted: r9700, "),
    (["validate", "--card", ""], "no card ''; accepted: r9700, "),
    (["flops", "--layout", ""], "cannot read '' in layout ''"),
    (["quality", "--text", ""], "cannot read the text '' as UTF-8"),
    (["generate", "x", "--model", "bare", "--stop", "y"], "bare: no readable tokenizer.json here"),
    (["cards", "--card", "nowhere.toml"], "nowhere.toml: not a readable TOML card (No such file or directory)"),
    (["cards", "--card", "text.toml"], "text.toml: a card needs a table [peak_tflops]"),
]


@pytest.mark.parametrize(("argv", "message"), BAD_INPUT, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_line_and_status_2(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("a,b\n1,2\n")
    (tmp_path / "text.toml").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff\x00\xfe")
    make_checkpoint_without_tokenizer(tmp_path / "bare")
    assert status_of(argv) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1, captured.err
    assert captured.out == ""


def make_checkpoint_without_tokenizer(folder: Path) -> None:
    """As small as a checkpoint can be; nothing of it is read where the tokenizer is missed first."""
    import numpy as np
    from safetensors.numpy import save_file

    sizes = {"num_hidden_layers": 1, "hidden_size": 4, "num_attention_heads": 1, "num_key_value_heads": 1,
             "head_dim": 4, "vocab_size": 3, "intermediate_size": 2, "max_position_embeddings": 7}  # fmt: skip
    other = {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(sizes | other))
    shapes = {"input_layernorm": (4,), "post_attention_layernorm": (4,), "mlp.gate_proj": (2, 4), "mlp.up_proj": (2, 4),
              "mlp.down_proj": (4, 2), **{f"self_attn.{x}_proj": (4, 4) for x in "qkvo"}}  # fmt: skip
    weights = {f"model.layers.0.{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    weights |= {"model.embed_tokens.weight": np.zeros((3, 4), np.float32), "model.norm.weight": np.ones(4, np.float32)}
    save_file(weights, folder / "model.safetensors")


def test_options_have_one_meaning_in_every_command():
    described: dict[str, set[str]] = {}
    for parser in commands_of(build_parser()).values():
        for action in parser._actions:
            for option in action.option_strings:
                words = (action.help or "").partition("(default")[0].partition("default:")[0].partition(",")[0]
                described.setdefault(option, set()).add(words)
    told_apart = {  # on purpose: one length or several, layouts of several kinds
        "--tokens", "--layout", "--layouts", "--model",
    }  # fmt: skip
    assert {option for option, words in described.items() if len(words) > 1} <= told_apart
    assert len(described["--tokens"]) <= 3 and len(described["--layout"]) <= 2


NOT_ALLOWED = f"x: Permission denied: {WANTED[PermissionError]}"


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (None, 0, ""),
        (ValueError("no such\nthing"), 2, "prefillwall cards: no such thing\n"),
        (PermissionError(13, "Permission denied", "x"), 2, f"prefillwall cards: {NOT_ALLOWED}\n"),
        (OSError(28, "No space left on device", "x"), 2, "prefillwall cards: x: No space left on device\n"),
        (NotImplementedError("no\nsinks"), 2, "prefillwall cards: no sinks\n"),
        (MemoryError("Unable to allocate 7 TiB"), 2, "prefillwall cards: out of memory: Unable to allocate 7 TiB\n"),
        (MemoryError(), 2, "prefillwall cards: out of memory\n"),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: 7\nbytes"), 2, "prefillwall cards: RESOURCE_EXHAUSTED: 7 bytes\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_exit_status(raised, status, said, monkeypatch, capsys):
    def run(_):
        if raised:
            raise raised
        return 0

    monkeypatch.setattr(eval.commands.cards, "run", run)
    assert main(["cards"]) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("raised", [RuntimeError("RESOURCE_EXHAUSTED"), JaxRuntimeError("INTERNAL: a bug")])
def test_a_bug_keeps_its_traceback(raised, monkeypatch):
    def run(_):
        raise raised

    monkeypatch.setattr(eval.commands.cards, "run", run)
    with pytest.raises(type(raised)):
        main(["cards"])


def test_help_documents_the_exit_statuses_and_lists_every_command(capsys):
    assert status_of(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {status} " in printed for status in (0, 1, 2, 130))
    assert all(f"\n    {command}" in printed for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("",), "the prompt is empty"),
        (("x", "--model", "qwen3-0.6b"), "no tokenizer; give a checkpoint"),
        (("x", "--layout", "7*swa(3)"), "does not divide 30"),
        (("x", "--layout", ""), "cannot read '' in layout ''"),
        (("x", "--stop", "<end>"), "no token '<end>'; accepted: </s>, none, or any other"),
        (("x", "--stop", ""), "no token ''; accepted: </s>, none, or any other"),
    ],
)
def test_generate_reads_no_weights_for_what_it_refuses(words, said, with_words, monkeypatch, capsys):
    monkeypatch.setattr(eval.commands.generate, "running_model", lambda *_: pytest.fail("weights are read"))
    assert main(["generate", *words]) == 2
    assert said in capsys.readouterr().err


def test_no_help_says_that_a_default_is_none_of_pythons():
    described = {name: parser.format_help() for name, parser in commands_of(build_parser()).items()}
    assert [name for name, text in described.items() if re.search(r"default:\s+None", text)] == []


def test_generate_ends_at_the_stop_token(with_words, capsys, fast_compile):
    def answer(*words: str) -> dict:
        assert main(["generate", "word3 word5", "--new", "11", "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    free = answer("--stop", "none")
    assert len(free["tokens"]) == 11 and not free["stopped"] and free["conventions"]["stop"] == "none"
    end = free["tokens"][-1]
    stopped = answer("--stop", f"word{end}")
    assert stopped["stopped"] and stopped["tokens"] == free["tokens"][: free["tokens"].index(end)]
    assert answer()["conventions"]["stop"] == "</s>"
    assert main(["generate", "word3", "--stop", "<end>"]) == 2
    assert "no token '<end>'; accepted: </s>, none, or any other" in capsys.readouterr().err


@pytest.mark.slow
def test_quality_says_what_was_read_routed_and_assumed(capsys, fast_compile):
    words = ["quality", "--model", "tiny-moe", "--layouts", "routed(5|full)", "swa(7)", "--tokens", "41"]
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "random weights and no tokenizer" in captured.err
    record = json.loads(captured.out)
    full, routed, window = record["layouts"]
    assert (full["layout"], full["kl_nats"], full["top1_agreement"]) == ("full", pytest.approx(0, abs=1e-6), 1)
    assert routed["assumptions"] == {"routed(5|full)": "routes take turns"} and not window["assumptions"]
    assert [route["layer"] for route in routed["routes"]] == [0, 1, 2, 3] and not window["routes"]
    assert all(sum(unit) == pytest.approx(1) for route in routed["routes"] for unit in route["shares"])
    assert main(words) == 0
    table = capsys.readouterr().out
    for one in record["layouts"]:
        assert f"{one['perplexity']:.3f}" in table and f"{one['kl_nats']:.4f}" in table
    mean = sum(route["shares"][0][0] for route in routed["routes"]) / 4
    assert f"{100 * mean:.1f} %" in table and "counts of routed(5|full) assume: routes take turns" in table


def test_who_watches_quality_is_told_how_long_it_takes_and_how_far_it_is(monkeypatch, capsys, fast_compile):
    bar, told = Progress(disable=True), []
    monkeypatch.setattr(eval.commands.quality, "progress_bar", lambda *, watched: told.append(watched) or bar)
    monkeypatch.setattr(eval.commands.quality.output, "is_watched", lambda: True)
    assert main(["quality", "--model", "tiny-dense", "--layouts", "swa(7)", "swa(5)", "--tokens", "41"]) == 0
    (task,) = bar.tasks
    assert told == [True] and task.description.startswith("reading 41 tokens 3 times, about ") and task.completed == 3


@pytest.mark.slow
def test_quality_is_what_compare_measures(tmp_path, capsys, fast_compile):
    common = ["--model", "tiny-dense", "--layouts", "swa(5)", "--tokens", "37", "--json"]
    assert main(["quality", *common]) == 0
    alone = json.loads(capsys.readouterr().out)["layouts"]
    assert main(["compare", *common, "--quality-tokens", "37", "--out", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    for one, row in zip(alone, rows, strict=True):
        assert [one[x] for x in ("layout", "perplexity", "kl_nats")] == [
            row[x] for x in ("layout", "perplexity", "kl_nats")
        ]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["compare", "quality"])
def test_nothing_moves_where_stdout_is_a_pipe(command, tmp_path):
    """Not even on stderr, a terminal here, on which bars are drawn otherwise."""
    terminal, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "eval.cli", command, *QUICK[command]], stdout=subprocess.PIPE, stderr=theirs,
        cwd=tmp_path, env=os.environ | {"TERM": "xterm", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}, check=True,
    )  # fmt: skip
    os.write(theirs, b"the end")
    said = b""
    while b"the end" not in said:  # a terminal hands on what it has, piece by piece
        said += os.read(terminal, 2**16)
    os.close(theirs)
    os.close(terminal)
    assert b"swa(" in done.stdout and said.endswith(b"the end")
    for moving in (b"\x1b", b"\r\x1b", b"measuring", b"reading"):
        assert moving not in done.stdout + said


def test_a_reader_that_goes_away_is_no_error():
    words = [sys.executable, "-m", "eval.cli", "cards"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 0


def test_help_and_cards_load_no_jax():
    script = (
        "import sys; from eval.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "loaded = {'jax', 'flax', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "sys.exit(' '.join(loaded) or 0)"
    )
    for words in (["--help"], ["cards"], ["cards", "--json"], ["compere"]):
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
