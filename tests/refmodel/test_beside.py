"""A user's file of a package's name: what is said instead of its being taken for the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from refmodel.beside import refuse_foreign

ROOT = Path(__file__).parents[2]


def test_only_what_lies_beside_is_its_own(tmp_path, monkeypatch):
    for name in ("attention", "refmodel", "eval"):
        refuse_foreign(name)
    (tmp_path / "someones.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "bare").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name, found in (("someones", tmp_path / "someones.py"), ("bare", "a folder without"), ("absent", "nothing")):
        with pytest.raises(
            ImportError, match=f"{name} should be prefillwall's package in .*, and Python finds {found}"
        ):
            refuse_foreign(name)


@pytest.mark.parametrize("package", ["refmodel", "eval"])
@pytest.mark.parametrize("script", ["attention.py", "mine.py"])
def test_a_script_beside_an_attention_of_its_own_is_told(tmp_path, package, script):
    """Also where it is that file itself, which would be imported a second time by what it imports."""
    (tmp_path / "attention.py").write_text("print('it ran')\n")
    with (tmp_path / script).open("a") as file:
        file.write(f"import {package}\n")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ImportError: attention should be prefillwall's package")
    assert f"Python finds {tmp_path / 'attention.py'} first: rename that" in last
    assert done.stdout.count("it ran") == (script == "attention.py")
