"""How the house is built: imports run one way between packages and between the rooms of `eval`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("eval", "refmodel", "attention")
ROOMS = ("bench", "commands", "lowering", "report", "testing", "measure", "quality", "cost")
"""Each may import those to its right."""
LOOSE = {"__init__.py", "cli.py"}
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 250, 80


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, also inside functions and for type checkers alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def upward(files: Iterator[Path], order: tuple[str, ...], depth: int) -> list[str]:
    """Imports of something left of the importer in `order`, which names part number `depth` of a module's path."""
    found = []
    for file in files:
        place = order.index(file.relative_to(ROOT).parts[depth])
        for module in imports(file):
            parts = module.split(".")
            ours = parts[0] in PACKAGES and len(parts) > depth and parts[depth] in order
            if ours and order.index(parts[depth]) < place:
                found.append(f"{file.relative_to(ROOT)} imports {module}")
    return found


def test_packages_import_one_way():
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    assert upward(files, PACKAGES, 0) == []


def test_rooms_import_one_way():
    files = (file for room in ROOMS for file in (ROOT / "eval" / room).rglob("*.py"))
    assert upward(files, ROOMS, 1) == []


def test_every_file_lies_in_a_room():
    assert {file.name for file in (ROOT / "eval").glob("*.py")} == LOOSE
    rooms = {file.relative_to(ROOT / "eval").parts[0] for file in (ROOT / "eval").rglob("*.py")} - LOOSE
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_packages(package):
    """A folder of tests has the name of a folder of the package."""
    for folder in (ROOT / "tests" / package).rglob("*"):
        if folder.is_dir() and folder.name != "__pycache__":
            assert (ROOT / package / folder.relative_to(ROOT / "tests" / package)).is_dir(), folder


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_functions_are_short(package):
    for file in (ROOT / package).rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
        long = [f.name for f in functions if f.end_lineno - f.lineno >= MOST_LINES_OF_A_FUNCTION]
        assert (len(text.splitlines()) <= MOST_LINES_OF_A_FILE, long) == (True, []), file


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_imports_run_in_a_circle():
    files = {module_name(file): file for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    used = {name: {found for one in imports(file) for found in (one, one.rpartition(".")[0]) if found in files}
            for name, file in files.items() if not file.name.startswith("__")}  # fmt: skip
    TopologicalSorter(used).prepare()  # raises CycleError, which names the circle


def test_the_oracle_of_imports_sees_what_is_wrong(tmp_path, monkeypatch):
    wrong = tmp_path / "eval" / "cost" / "wrong.py"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("def f():\n    from eval.report import tables\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert upward(iter([wrong]), ROOMS, 1) == ["eval/cost/wrong.py imports eval.report.tables"]
