"""The command line as a whole: what every command has alike."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from eval.cli import COMMANDS, build_parser, commands_of, main
from tests.eval.command_line import status_of

QUICK = {
    "audit": ("--layouts", "swa(3)", "--tokens", "11"),
    "compare": ("--model", "tiny-dense", "--layouts", "swa(16)", "--tokens", "32", "--out", "out"),
    "quality": ("--model", "tiny-moe", "--layouts", "routed(5|full)", "swa(7)", "--tokens", "41"),
    "retrieve": ("--tasks", "passkey", "--tokens", "257", "--prompts", "1", "--layouts", "swa(7)"),
    "generate": ("word3 word5", "--new", "7"),
    "save": ("--model", "tiny-dense", "--layout", "routed(5|full)", "--out", "saved"),
    "flops": ("--model", "tiny-dense", "--tokens", "9", "--no-compile"),
    "crossover": ("--layouts", "full"),
    "variants": ("swa(3)", "--draw", "5"),
    "atlas": ("--models", "qwen3-0.6b", "mistral-7b"),
    "models": (),
    "cards": (),
    "post": ("--layouts", "full", "--tokens", "1024"),
    "validate": ("--leave-out", "long rows of a model"),
}
"""Words with which each command is quick; `NOT_RUN` says why some have none."""


NOT_RUN = {
    "predict": "fits all published rows, see test_predict_command.py",
    "report": "needs the records of a run, see test_compare_command.py",
    "lower": "needs the compiler plugin of the extra rocm-compile",
    "completion": "prints a script, not figures",
}


def test_every_command_is_run_below_or_has_a_reason():
    assert set(QUICK) | set(NOT_RUN) == set(COMMANDS) and not set(QUICK) & set(NOT_RUN)


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_after_the_imports_as_it_was_before(collects, monkeypatch):
    seen: list[bool] = []
    import_module = importlib.import_module
    monkeypatch.setattr("importlib.import_module", lambda name: seen.append(gc.isenabled()) or import_module(name))
    was = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        build_parser(["cards"])
        assert seen == [False] and gc.isenabled() is collects
    finally:
        (gc.enable if was else gc.disable)()


@pytest.mark.parametrize("command", QUICK)
def test_json_is_all_that_stdout_gets_and_names_its_conventions(
    command, capsys, tmp_path, monkeypatch, with_words, fast_compile
):
    monkeypatch.chdir(tmp_path)
    assert main([command, *QUICK[command], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["command"] == command
    assert record["conventions"] and all(record["conventions"])


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


def test_options_have_one_meaning_in_every_command():
    described: dict[str, set[str]] = {}
    for parser in commands_of(build_parser()).values():
        for action in parser._actions:
            for option in action.option_strings:
                words = (action.help or "").partition("(default")[0].partition("default:")[0].partition(",")[0]
                described.setdefault(option, set()).add(words)
    told_apart = {  # on purpose: one length or several, one card or several, layouts of several kinds
        "--tokens", "--layout", "--layouts", "--model", "--card",
    }  # fmt: skip
    assert {option for option, words in described.items() if len(words) > 1} <= told_apart
    assert len(described["--tokens"]) <= 3 and len(described["--layout"]) <= 2


def test_help_documents_the_exit_statuses_and_lists_every_command(capsys):
    assert status_of(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {status} " in printed for status in (0, 1, 2, 130))
    assert all(f"\n    {command}" in printed for command in COMMANDS)


def test_no_help_says_that_a_default_is_none_of_pythons():
    described = {name: parser.format_help() for name, parser in commands_of(build_parser()).items()}
    assert [name for name, text in described.items() if re.search(r"default:\s+None", text)] == []


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
