"""What is imported when: costs need no transformer, and random weights no reader of files."""

from __future__ import annotations

import subprocess
import sys

import pytest

READERS = ("tokenizers", "gguf", "safetensors")
NOT_OF_ARITHMETIC = (
    *READERS,
    *("flax", "tomllib", "rich._emoji_codes"),
    *("attention.backends", "attention.eviction.registry", "attention.eviction.h2o"),
    *("refmodel.packed", "refmodel.checkpoint.checkpoint", "refmodel.checkpoint.random_weights", "refmodel.weights"),
    *("eval.cost.flops.formats", "eval.cost.roofline", "eval.measure.records", "eval.report"),
)


@pytest.mark.parametrize(
    ("program", "not_loaded"),
    [
        ("import refmodel; refmodel.load('tiny-dense')", READERS),
        ("from eval.cli import main; main(['crossover', '--model', 'tiny-dense'])", NOT_OF_ARITHMETIC),
        ("import eval.measure.sweep, eval.commands.compare", READERS),
    ],
)
def test_nothing_is_imported_that_is_not_needed(program, not_loaded):
    said = f"{program}; import sys; print([name for name in {not_loaded!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
