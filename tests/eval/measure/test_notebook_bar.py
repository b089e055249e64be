"""A bar in a notebook: one output, written anew as the sweep goes on, and empty at the end."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from eval.measure.notebook_bar import NotebookBar, in_notebook
from eval.measure.progress import progress_bar


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """What the output of the cell said, in turn."""
    found: list[str] = []
    output = SimpleNamespace(update=lambda data, raw: found.append(data["text/plain"]))
    monkeypatch.setattr("IPython.display.display", lambda data, raw, display_id: output)
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=None))
    return found


def test_a_bar_is_written_anew_and_goes(written):
    assert in_notebook()
    bar = progress_bar(watched=True)
    assert isinstance(bar, NotebookBar)
    with bar:
        task = bar.add_task("measuring", total=4)
        bar.update(task, description="prefill 512")
        bar.advance(task, 3)
    first, second, last = written
    assert first.startswith("prefill 512 ─") and first.endswith("  0%")
    assert second.count("━") == 22 and second.count("─") == 8 and second.endswith(" 75%")
    assert last == ""


def test_elsewhere_it_is_rich_s_bar(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    assert not isinstance(progress_bar(watched=True), NotebookBar)


def test_nobody_watches_a_plain_shell_of_ipython(monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace())
    assert not in_notebook()
