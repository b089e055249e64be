"""The recipe for a new variant in docs/extending.md, carried out: a file and one line in the registry are enough."""

from __future__ import annotations

import sys
from types import MappingProxyType, ModuleType

import pytest

import attention.layout
import attention.variants
import eval.commands.variants
from attention.layout import parse_variant
from eval.cli import main
from tests.attention.test_pattern import by_hand
from tests.printed import blocks, carry_out

(SOURCE,) = blocks("docs/extending.md", "python", indent="   ")


@pytest.fixture
def preface() -> str:
    """What stands above the page's code in its file."""
    return ""


@pytest.fixture
def wedge(monkeypatch, preface):
    """The class of the recipe, registered."""
    module = ModuleType("wedge")
    monkeypatch.setitem(sys.modules, "wedge", module)  # where dataclasses look a class's module up
    carry_out(preface + SOURCE, module.__dict__)
    registered = MappingProxyType({**attention.variants.VARIANTS, "wedge": module.Wedge})
    for place in (attention.variants, attention.layout, eval.commands.variants):
        monkeypatch.setattr(place, "VARIANTS", registered)
    return module.Wedge


@pytest.mark.parametrize("preface", ["", "from __future__ import annotations\n"])
def test_it_is_spelled_as_the_page_says(wedge, capsys, fast_compile):
    assert main(["variants", wedge.example]) == 0
    assert "\nwedge(5)  " in capsys.readouterr().out
    assert main(["variants", "wedge(five)"]) == 2
    assert "window must be a whole number, got 'five'; accepted: wedge(window)" in capsys.readouterr().err


def test_it_has_a_name_a_picture_and_a_cost(wedge, capsys, fast_compile):
    assert main(["variants", "--draw", "12"]) == 0
    printed = capsys.readouterr().out
    assert "wedge(window)" in printed and "a window, and as many sinks as the window is wide" in printed
    seen = by_hand(wedge(5).pattern(), range(12), range(12))[0]
    lines = printed.partition("wedge(5)  ")[2].split("\n")[1:7]
    for row, line in enumerate(lines):
        drawn = [{" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}[mark] for mark in line.ljust(12)]
        assert [upper for upper, _ in drawn] == seen[2 * row].astype(int).tolist()


def test_it_is_counted_three_ways(wedge, capsys):
    assert main(["flops", "--model", "tiny-moe", "--layout", "3*wedge(5)+full", "--tokens", "300"]) == 0


def test_it_is_timed_and_reported(wedge, tmp_path, capsys, fast_compile):
    argv = ["compare", "--model", "tiny-dense", "--layouts", "wedge(16)", "--tokens", "64", "--out", str(tmp_path)]
    assert main(argv) == 0
    assert (tmp_path / "report.md").read_text().count("wedge(16)") > 3


def test_its_example_is_a_spelling_of_it(wedge):
    """The generic tests run over the examples of all registered variants (`tests.examples`)."""
    assert parse_variant(wedge.example) == wedge(5)
