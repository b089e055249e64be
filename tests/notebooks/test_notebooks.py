"""Every notebook is the twin of its script, carries no outputs, and runs from a clean checkout."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
LIMIT_S = 600
"""A whole notebook is stopped after this long: the longest takes two minutes here, and machines differ threefold."""


def execute(notebook, folder: Path, limit_s: float) -> None:
    """Runs all cells in `folder`; `TimeoutError` after the limit, which nbclient itself knows for single cells only."""
    client = NotebookClient(
        notebook, timeout=limit_s, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )

    async def whole() -> None:
        running = asyncio.ensure_future(client.async_execute())
        done, _ = await asyncio.wait([running], timeout=limit_s)
        if not done:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)  # nbclient ends the kernel
            raise TimeoutError(f"the notebook takes longer than {limit_s} s")
        running.result()

    asyncio.run(whole())


def cells(notebook) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_notebook_and_script_are_twins(script):
    notebook = jupytext.read(script.with_suffix(".ipynb"))
    assert cells(notebook) == cells(jupytext.read(script)), f"run: jupytext --sync {script}"
    assert all(not cell.get("outputs") for cell in notebook.cells)


def test_the_page_says_what_each_shows():
    page = (FOLDER.parent / "docs" / "python.md").read_text(encoding="utf-8")
    section = page.split("## Notebooks\n")[1].split("\n## ")[0]
    assert SCRIPTS and [script.stem for script in SCRIPTS if f"`{script.stem}`" not in section] == []


@pytest.mark.slow
def test_a_script_runs_without_jupyter(tmp_path):
    done = subprocess.run([sys.executable, FOLDER / "02_patterns.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "moba" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_notebook_of_short_cells_is_stopped_too(tmp_path):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import time; time.sleep(2)") for _ in range(9)]
    )
    with pytest.raises(TimeoutError, match="longer than 5 s"):
        execute(notebook, tmp_path, 5)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the kernel's own packages, not ours
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_notebook_runs(script, tmp_path):
    notebook = jupytext.read(script)
    execute(notebook, tmp_path, LIMIT_S)
    assert any(output.get("data", {}).get("image/png") for cell in notebook.cells for output in cell.get("outputs", []))
