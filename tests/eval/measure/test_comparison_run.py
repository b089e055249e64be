"""From what was asked for to a sweep: what is found before the weights are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import eval as prefillwall
from eval.measure import comparison_run
from refmodel.presets import preset
from refmodel.source import Model

TWO_SIZES = Path(__file__).parents[2] / "golden" / "gemma4"


@pytest.fixture(autouse=True)
def unread(monkeypatch):
    for name in ("read_model", "random_layers"):
        monkeypatch.setattr(comparison_run, name, lambda *_: pytest.fail("the weights are read"))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("layouts", "message"),
    [(["swaa(5)"], "no attention variant 'swaa'"), (["2*full", ["full"] * 3], "3"), (["spans(5|7|9)"], "heads")],
)
def test_a_layout_that_does_not_fit_is_found_before_the_weights_are_read(apart, layouts, message):
    for asked in ({"layouts": layouts}, {"layouts": ["full"], "whole": layouts}):
        with pytest.raises(ValueError, match=message):
            prefillwall.compare("tiny-dense", tokens=[17], layers_apart=apart, **asked)


@pytest.mark.parametrize("apart", [False, True])
def test_so_is_a_text_that_nothing_reads(apart):
    with pytest.raises(ValueError, match="layers apart are no model that reads a text" if apart else "no tokenizer"):
        prefillwall.compare("tiny-dense", tokens=[17], text="words", layers_apart=apart)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("model", [str(TWO_SIZES), "gemma4-26b-a4b", Model(preset("gemma4-31b"), {}, None, "random")])
def test_so_is_a_model_with_heads_of_two_sizes(apart, model):
    """Folders, presets that weights would be drawn for, and models at hand."""
    with pytest.raises(ValueError, match=r"has heads of 2 sizes .* no one layer's attention can be timed for all"):
        prefillwall.compare(model, tokens=[17], layers_apart=apart)


@pytest.mark.parametrize(
    ("name", "kind", "named"),
    [("file", FileExistsError, "file"), ("file/a/b", NotADirectoryError, "file"), ("x" * 300, OSError, "x" * 300),
     ("a\0b", ValueError, "a\\x00b")],
)  # fmt: skip
def test_so_is_a_place_where_no_folder_can_be(tmp_path, name, kind, named):
    (tmp_path / "file").touch()
    with pytest.raises(kind) as refused:
        prefillwall.compare("tiny-dense", tokens=[17], out=tmp_path / name)
    assert str(tmp_path / named) in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_so_is_a_folder_that_nobody_may_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path or mode != os.W_OK | os.X_OK)
    with pytest.raises(PermissionError) as refused:
        prefillwall.compare("tiny-dense", tokens=[17], out=tmp_path / "a" / "b")
    assert refused.value.filename == str(tmp_path)
