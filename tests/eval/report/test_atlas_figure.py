"""The atlas as a picture and as lines of a terminal: what is drawn is what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from eval.cost.atlas import cost_per_token, place
from eval.cost.cards import CARDS
from eval.cost.crossover import attention_share
from eval.report.atlas_figure import draw_atlas, save_atlas
from eval.report.atlas_strip import BOUNDS, LENGTHS, SHADES, strip
from refmodel.presets import preset

NAMES = ("qwen3-30b-a3b", "gemma3-4b", "mistral-7b")


@pytest.fixture(scope="module")
def places():
    return [place(preset(name), preset(NAMES[0]), CARDS["r9700"]) for name in NAMES]


def test_lines_are_costs_a_token_and_marks_are_crossovers(places):
    (axes,) = draw_atlas(places).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prompt length N (tokens)", "GFLOP a token of the prompt")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["qwen3-30b-a3b: 13,888", "gemma3-4b: 301,485", "mistral-7b: none"]
    for line, name in zip(lines.values(), NAMES, strict=True):
        wanted = [cost_per_token(preset(name), n) / 1e9 for n in LENGTHS]
        np.testing.assert_allclose(line.get_data(), (LENGTHS, wanted))
    marks = [tuple(x.item() for x in line.get_data()) for line in axes.lines if len(line.get_xdata()) == 1]
    assert marks == [(n, pytest.approx(2 * one.linear_flops_per_token / 1e9, rel=1e-3)) for n, one in
                     zip((13_888, 301_485), places, strict=False)]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_shade_says_between_which_bounds_the_share_lies(name):
    for tokens, shade in zip(LENGTHS, strip(preset(name)), strict=True):
        i = SHADES.index(shade)
        assert (0, *BOUNDS)[i] <= attention_share(preset(name), tokens) < (*BOUNDS, 1.01)[i]


def test_a_line_of_shades_spelled_out():
    """From light to dark over the eleven powers of two from 1,024 to 1,048,576."""
    assert (LENGTHS[0], LENGTHS[-1], len(LENGTHS)) == (1_024, 1_048_576, 11)
    assert (strip(preset("qwen3-30b-a3b")), strip(preset("mistral-7b"))[0]) == ("·░░▒▓▓█████", "·")


def test_a_page_holds_the_picture_and_the_table(places, tmp_path):
    save_atlas(tmp_path / "deep" / "atlas.html", places, [("model", "N*"), ("a<b", "1,024")])
    page = (tmp_path / "deep" / "atlas.html").read_text()
    assert page.count("<svg") == 1 and "<th>N*</th>" in page and "<td>a&lt;b</td><td>1,024</td>" in page
    save_atlas(tmp_path / "atlas.png", places)
    assert (tmp_path / "atlas.png").read_bytes().startswith(b"\x89PNG")
