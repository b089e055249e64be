"""Every example of every command's help is run as it stands, and completion scripts are read by a shell."""

from __future__ import annotations

import importlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from eval.cli import COMMANDS, build_parser, commands_of, main

ROOT = Path(__file__).parents[2]
EXAMPLES = [example for command in COMMANDS for example in importlib.import_module(f"eval.commands.{command}").EXAMPLES]

NOT_RUN = {
    "prefillwall compare": "the main job itself, `make compare`: many minutes",
    "prefillwall compare --layouts full 'swa(512)' 'swa(508,sinks=4)' --tokens 1024 2048 4096": "minutes",
    "prefillwall audit": "minutes: an example of each variant, as eval/testing tests them one by one",
    "prefillwall audit --plugin wedge.py --layouts 'wedge(16)' --tokens 229": "needs wedge.py, see test_audit.py",
    "prefillwall quality": "minutes: a dozen layouts on a long text",
    "prefillwall retrieve": "minutes: three layouts answer twenty prompts",
    "prefillwall retrieve --tasks niah_multikey_1 vt --layouts '5*swa(508,sinks=4)+full' --tokens 1k 2k "
    "--json": "minutes",
    "prefillwall compare --model qwen3-30b-a3b --device gpu --out out/gpu": "needs a GPU of 80 GB",
    "prefillwall compare --model qwen3-30b-a3b --device gpu --layers-apart --out out/apart": "needs a GPU",
    "prefillwall compare --model tiny-moe --layouts 'swa(16)' --tokens 64 128 --out out/tiny --resume "
    "--again disturbed 'prefill swa(16) 128'": "needs the records of a run; measure/test_again.py has some",
    "prefillwall report out/compare --card r9700 h200": "the same",
    "prefillwall report out/several": "needs the folders of several runs; report/test_several.py has some",
    "prefillwall report out/compare": "needs the records of a run; commands/test_compare.py draws some again",
    "prefillwall report out/compare/records.20250131-235959.jsonl --out out/before": "the same",
    **{
        example: "needs the compiler plugin of the extra rocm-compile; `make lower` compiles the same programs"
        for example in EXAMPLES
        if example.startswith("prefillwall lower")
    },
}


def words_of(example: str) -> list[str]:
    """As a shell would split it, without a comment or a redirection."""
    words = shlex.split(example, comments=True)
    return words[: words.index(">")] if ">" in words else words


def test_lists_of_exceptions_name_examples():
    assert set(NOT_RUN) <= set(EXAMPLES)
    assert {words_of(example)[1] for example in EXAMPLES} == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("example", [example for example in EXAMPLES if example not in NOT_RUN])
def test_examples_run(example, tmp_path, monkeypatch, capsys, fast_compile):
    shutil.copy(ROOT / "README.md", tmp_path)
    for kept in (Path("eval/results/h100-qwen3-30b-a3b"), Path("eval/results/h200-atlas")):
        shutil.copytree(ROOT / kept, tmp_path / kept)
    published = (ROOT / "eval/cost/data/r9700_published.csv").read_text().splitlines(keepends=True)
    (tmp_path / "mine.csv").write_text("".join(published[:41]))
    monkeypatch.chdir(tmp_path)
    program, *words = words_of(example)
    assert program == "prefillwall"
    assert main(words) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("example", sorted(NOT_RUN))
def test_examples_that_are_not_run_parse_all_the_same(example):
    _, *words = words_of(example)
    assert not build_parser().parse_known_args(words)[1]


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    """What `prefillwall completion` prints for each shell."""
    done = {}
    for shell in ("bash", "zsh", "fish"):
        with pytest.MonkeyPatch.context() as patch:
            printed: list[str] = []
            patch.setattr("builtins.print", lambda text, printed=printed: printed.append(text))
            assert main(["completion", shell]) == 0
        done[shell] = "\n".join(printed)
    return done


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_options_models_and_cards(scripts, shell):
    known = [*COMMANDS, "gemma3-27b", "r9700", "blockwise"]
    options = {option for parser in commands_of(build_parser()).values() for option in parser._option_string_actions}
    spelled = [option.lstrip("-") if shell == "fish" else option for option in options]
    assert [word for word in (*known, *spelled) if word not in scripts[shell]] == []


def test_bash_completes(scripts, tmp_path):
    script = tmp_path / "prefillwall.bash"
    script.write_text(scripts["bash"])

    def completions(*words: str) -> list[str]:
        line = " ".join(words)
        ask = (
            f"source {shlex.quote(str(script))}; COMP_WORDS=({line} ''); COMP_CWORD={len(words)}; "
            f"COMP_LINE='{line} '; COMP_POINT={len(line) + 1}; $(complete -p prefillwall | sed 's/.*-F //; s/ .*//') "
            "prefillwall '' prefillwall; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(["bash", "--norc", "-c", ask], capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout.split()

    assert set(COMMANDS) <= set(completions("prefillwall"))
    assert {"gemma3-27b", "tiny-moe"} <= set(completions("prefillwall", "flops", "--model"))
    assert {"bash", "zsh", "fish"} <= set(completions("prefillwall", "completion"))
