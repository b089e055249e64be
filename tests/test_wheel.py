"""What an installation from a wheel brings: all that the command needs, and nothing that needs the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
SOURCES = ("attention", "refmodel", "eval", "pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.slow


def run(*words: object, folder: Path | None = None) -> str:
    """What a command prints; with `folder`, one that finds its packages there, and runs beside them."""
    found_in = {"PYTHONPATH": str(folder)} if folder else {}
    words = tuple(map(str, words))
    done = subprocess.run(words, env={**os.environ, **found_in}, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no `build/` of the working tree gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", folder, folder / "source")  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    folder = wheel.parent / "installed"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel)
    return folder


def test_it_holds_what_an_installation_needs_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    needed = {f"{package}/py.typed" for package in ("attention", "refmodel", "eval")}
    needed |= {
        str(path.relative_to(ROOT))
        for room in ("attention", "refmodel", "eval")
        for path in (ROOT / room).rglob("*")
        if path.suffix in {".py", ".csv", ".html", ".css", ".js"} and "eval/bench" not in str(path)
    }
    assert sorted(needed - set(names)) == []
    tops = {name.split("/")[0] for name in names}
    assert tops == {"attention", "refmodel", "eval", f"prefillwall-{VERSION}.dist-info"}
    assert [name for name in names if name.startswith(("eval/bench", "eval/results"))] == []


def test_the_command_runs_from_it(installed: Path) -> None:
    def prefillwall(*words: str) -> str:
        return run(sys.executable, installed / "bin" / "prefillwall", *words, folder=installed)

    assert prefillwall("--version") == f"prefillwall {VERSION}\n"
    assert "13,888" in prefillwall("crossover", "--model", "qwen3-30b-a3b")


def test_it_is_itself_that_runs(installed: Path) -> None:
    code = "import attention, refmodel, eval; print(attention.__file__, refmodel.__file__, eval.__file__)"
    places = run(sys.executable, "-c", code, folder=installed).split()
    assert [Path(place).parents[1] for place in places] == [installed] * 3
