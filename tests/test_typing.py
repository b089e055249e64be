"""Pyright over what pages and docstrings show, as users see the packages: installed editable, from elsewhere."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from types import ModuleType

import pytest

from tests.printed import ROOT, blocks, modules_with_examples

pytestmark = pytest.mark.slow
pytest.importorskip("pyright", reason="the extra `types` has pyright")

PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.name != "api.md"]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment of its own, where only the editable install leads to the packages."""
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "venv", with_pip=False)
    scheme = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    site = Path(sysconfig.get_path("purelib", vars=scheme))
    python = Path(sysconfig.get_path("scripts", vars=scheme)) / "python"
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "others.pth").write_text("\n".join([*others, ""]))  # jax and the rest, as they are here
    source = folder / "source"
    source.mkdir()
    for name in ("attention", "refmodel", "eval", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", source)
    done = subprocess.run([python, *install], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


def pyright_errors(python: Path, folder: Path) -> list[str]:
    command = (sys.executable, "-m", "pyright", "--pythonpath", python, "--level", "error", "--outputjson", folder)
    said = json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout)
    assert said["summary"]["filesAnalyzed"] == len(list(folder.glob("*.py")))
    return [f"{Path(one['file']).name}: {one['message']}" for one in said["generalDiagnostics"]]


def test_pages_are_typed(python: Path, tmp_path: Path) -> None:
    """A page is one script, read from its top."""
    for page in PAGES:
        if found := blocks(str(page.relative_to(ROOT)), "python"):
            (tmp_path / f"{page.stem.lower()}.py").write_text("\n\n".join([*found, ""]), encoding="utf-8")
    assert len(list(tmp_path.iterdir())) > 4
    assert not pyright_errors(python, tmp_path)


def test_docstrings_are_typed(python: Path, tmp_path: Path) -> None:
    for name in modules_with_examples():
        module = importlib.import_module(name)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            source = "".join(example.source for example in test.examples)
            (tmp_path / f"{test.name.replace('.', '_')}.py").write_text(
                f"{imported(module, source)}\n{source}", encoding="utf-8"
            )
    assert len(list(tmp_path.iterdir())) > 50
    assert not pyright_errors(python, tmp_path)


def imported(module: ModuleType, source: str) -> str:
    """Imports of what an example reads of its module and does not bind itself."""
    nodes = list(ast.walk(ast.parse(source)))
    imports = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    read = {node.id for node in nodes if isinstance(node, ast.Name)} - {one.asname or one.name for one in imports}
    lines = []
    for name in sorted(read & vars(module).keys()):
        value = vars(module)[name]
        home = value.__module__ if inspect.isclass(value) or inspect.isfunction(value) else module.__name__
        lines.append(f"import {value.__name__} as {name}" if inspect.ismodule(value) else f"from {home} import {name}")
    return "\n".join(lines)


def test_what_is_wrong_is_found(python: Path, tmp_path: Path) -> None:
    """From outside, through the install: a name that is not there and an argument of another type."""
    (tmp_path / "wrong.py").write_text("import refmodel\nrefmodel.load(5)\nrefmodel.lode('tiny-moe')\n")
    found = pyright_errors(python, tmp_path)
    assert len(found) == 2 and "lode" in found[1]
