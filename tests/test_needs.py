"""Tests that this machine cannot run are skipped, and say what they need."""

from __future__ import annotations

import re
import subprocess
import sys

import jax
import pytest

from tests.needs import NEEDS
from tests.printed import ROOT

SOME = (
    "tests/attention/test_pallas_write.py", "tests/eval/lowering/test_packed_kernels.py", "tests/browser",
    "tests/parity/test_texts.py", "tests/parity_eviction",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(jax.default_backend() == "gpu", reason="needs a machine without a GPU")
def test_what_cannot_run_is_skipped_with_a_reason() -> None:
    """A plain `pytest` of some files of each kind: nothing fails, whatever is installed beside an ordinary venv."""
    if not NEEDS["lower"]() or not NEEDS["browser"]():
        pytest.skip("needs an environment without compilers and browser")
    words = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-n", "0", "-m", "not slow", *SOME]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    reasons = re.findall(r"^SKIPPED \[\d+\] (.*)", done.stdout, re.MULTILINE)
    assert any(reason.endswith("needs a GPU") for reason in reasons)
    assert any("pip install -e '.[rocm-compile,cuda-compile]'" in reason for reason in reasons)


def test_every_marker_of_a_machine_is_known(pytestconfig) -> None:
    known = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert set(NEEDS) <= known
