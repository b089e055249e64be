"""What times programs loads nothing that it does not need: in a process of its own, for this one has everything."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["timing", "layer_program", "plan", "cells", "sweep", "records.file"])
def test_what_times_loads_neither_tokenizers_nor_plots(module):
    code = f"import sys, eval.measure.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tokenizers", "matplotlib", "pandas"} & set(loaded)
