"""The cost commands: tables for people, JSON with conventions, one-line errors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from eval.commands import cards, crossover, flops, models, post, validate, variants

COMMANDS = {
    "flops": flops,
    "crossover": crossover,
    "cards": cards,
    "models": models,
    "post": post,
    "validate": validate,
    "variants": variants,
}


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(dest="command")
    COMMANDS[words[0]].add_parser(subparsers)
    options = parser.parse_args(words)
    return options.run(options)


SMALL = {
    "flops": ("--model", "tiny-moe", "--layout", "swa(5)+full", "--tokens", "300", "--card", "r9700"),
    "crossover": (),
    "cards": ("--card", "r9700"),
    "models": (),
    "post": ("--tokens", "1024", "--layouts", "full"),
    "validate": (),
    "variants": ("full", "swa(3)", "--draw", "5", "--tokens", "1024"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_json_carries_conventions_and_tables_the_same_figures(
    command: str, capsys, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(command, *SMALL[command], "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["command"] == command and record["conventions"]
    assert _run(command, *SMALL[command]) == 0
    table = capsys.readouterr().out
    wanted = {
        "flops": lambda: [f"{x:,}" for count in record["flops"].values() for x in count.values()],
        "crossover": lambda: ["13,888", "73,159", "none", "12.9%", *(one["layout"] for one in record["layouts"])],
        "cards": lambda: [f"{one['decode_crossover_tokens']:,}" for one in record["bounds"]],
        "models": lambda: [f"{one['params']:,}" for one in record["models"]],
        "post": lambda: [*record["rounding"], "16,785", "post.png"],
        "validate": lambda: [one["family"] for one in record["summary"]],
        "variants": lambda: [
            "███▄",
            *(f"{100 * one['costs'][0]['share_of_full']:.1f} %" for one in record["variants"]),
        ],
    }[command]()
    assert [word for word in wanted if word not in table] == []


def test_flops_prints_three_agreeing_counts(capsys) -> None:
    assert _run("flops", *SMALL["flops"], "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["flops"]) == ["useful", "executed", "traced", "compiled"]
    assert record["flops"]["executed"] == record["flops"]["traced"] and record["faults"] == []
    assert record["layout"] == "swa(5)+full" and record["bytes"]["attention"] and record["floor_ms"]["head"]


def test_flops_exits_with_one_where_counts_disagree(monkeypatch, capsys) -> None:
    from eval.flops import cross_check

    monkeypatch.setattr(cross_check, "steps_flops", lambda *_, **__: {"head": 1})
    assert _run("flops", "--model", "tiny-dense", "--tokens", "9", "--no-compile") == 1
    assert "counts disagree" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("--tokens", "90", "--chunk", "16"), ("--tokens", "9", "--model", "gemma3-1b")])
def test_closed_form_alone_says_so(words: tuple[str, ...], capsys) -> None:
    assert _run("flops", "--no-compile", *words) == 0
    assert "closed form only" in capsys.readouterr().out


def test_post_draws_its_figure(tmp_path: Path, capsys) -> None:
    assert _run("post", "--figure", str(tmp_path / "deep" / "squares.svg"), "--layouts", "full", "swa(64)") == 0
    assert (tmp_path / "deep" / "squares.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("flops", "--model", "qwen"), "no model 'qwen'"),
        (("flops", "--layout", "7*swa(3)"), "does not divide 48"),
        (("flops", "--card", "r97"), "did you mean 'r9700'"),
        (("flops", "--tokens", "5", "--start", "-1", "--no-compile"), "position 0 or later"),
        (("flops", "--tokens", "5", "--start", "9", "--chunk", "2"), "leave --start out"),
        (("flops", "--tokens", "5", "--impl", "magic"), "no attention implementation 'magic'"),
        (("crossover", "--convention", "all"), "no convention 'all'"),
        (("crossover", "--pairs", "all"), "no pairs convention 'all'"),
    ],
)
def test_one_line_errors(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        _run(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tokens", ["0", "-5", "many"])
def test_lengths_are_counts(tokens: str, capsys) -> None:
    with pytest.raises(SystemExit):
        _run("flops", "--tokens", tokens)
    assert "at least 1" in capsys.readouterr().err
