"""The packages' front doors: the same objects as inside, at no cost until they are used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = ("attention", "refmodel", "eval")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_is_there_and_a_strange_one_is_not(name):
    package = importlib.import_module(name)
    for entry in package.__all__:
        assert getattr(package, entry).__module__.startswith(f"{name}.")
        assert entry in dir(package)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'comparee'; its names: "):
        _ = package.comparee


def test_importing_the_packages_imports_nothing_heavy():
    """`prefillwall cards` starts without a model; a child that compiles sets its environment before jax reads it."""
    code = "import sys, attention, refmodel, eval; print(*({'jax', 'numpy', 'flax', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
