"""The recipes of docs/extending.md, carried out: a file of the reader's own and `--plugin` are enough."""

from __future__ import annotations

import pytest

from attention.layout import parse_variant
from eval.cli import main
from tests.attention.test_pattern import by_hand
from tests.printed import blocks

WEDGE, _, POLICY, ROUTER, *_ = blocks("docs/extending.md", "python")


@pytest.fixture
def preface() -> str:
    """What stands above the page's code in its file."""
    return ""


@pytest.fixture
def run(tmp_path, preface):
    """The command line with the recipe's file."""
    file = tmp_path / "wedge.py"
    file.write_text(preface + WEDGE)
    return lambda *words: main([*words, "--plugin", str(file)])


@pytest.mark.parametrize("preface", ["", "from __future__ import annotations\n"])
def test_it_is_spelled_as_the_page_says(run, capsys, fast_compile):
    assert run("variants", "wedge(5)") == 0
    assert "\nwedge(5)  " in capsys.readouterr().out
    assert run("variants", "wedge(five)") == 2
    assert "window must be a whole number, got 'five'; accepted: wedge(window)" in capsys.readouterr().err


def test_it_has_a_name_a_picture_and_a_cost(run, capsys, fast_compile):
    assert run("variants", "--draw", "12") == 0
    printed = capsys.readouterr().out
    assert "wedge(window)" in printed and "a window, and as many sinks as the window is wide" in printed
    seen = by_hand(parse_variant("wedge(5)").pattern(), range(12), range(12))[0]
    lines = printed.partition("wedge(5)  ")[2].split("\n")[1:7]
    for row, line in enumerate(lines):
        drawn = [{" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}[mark] for mark in line.ljust(12)]
        assert [upper for upper, _ in drawn] == seen[2 * row].astype(int).tolist()


def test_it_is_counted_three_ways(run, capsys):
    assert run("flops", "--model", "tiny-moe", "--layout", "3*wedge(5)+full", "--tokens", "300") == 0


def test_it_is_timed_and_reported(run, tmp_path, capsys, fast_compile):
    argv = ["compare", "--model", "tiny-dense", "--layouts", "wedge(16)", "--tokens", "64", "--out", str(tmp_path)]
    assert run(*argv) == 0
    assert (tmp_path / "report.md").read_text().count("wedge(16)") > 3


@pytest.mark.parametrize(
    ("source", "name", "layout"),
    [(POLICY, "vnorm", "evict(vnorm, budget=32, chunk=16)"), (ROUTER, "parity", "routed(16|full, router=parity)")],
    ids=["policy", "router"],
)
def test_a_policy_and_a_router_are_counted_and_compared(source, name, layout, tmp_path, capsys, fast_compile):
    file = tmp_path / "mine.py"
    file.write_text(source)
    given = ["--model", "tiny-dense", "--tokens", "64", "--plugin", str(file)]
    assert main(["flops", "--layout", layout, *given]) == 0
    assert main(["compare", "--layouts", layout, *given, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.md").read_text().count(name) > 3
    capsys.readouterr()
    assert main(["report", str(tmp_path), "--plugin", str(file)]) == 0
    assert main(["variants", "--draw", "0", "--plugin", str(file)]) == 0
    assert any(line.split()[:1] == [name] for line in capsys.readouterr().out.splitlines())
