"""What attention and the model load before anything runs: no compiler of kernels."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import {module}
compilers = "jax.experimental.pallas", "jax.experimental.mosaic", "jax._src.pallas.triton"
loaded = [name for name in sys.modules if name.startswith(compilers)]
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    "module", ["attention", "attention.attend", "attention.variants", "attention.eviction.registry", "refmodel.model"]
)
def test_pallas_is_loaded_when_a_kernel_runs(module):
    subprocess.run([sys.executable, "-c", SCRIPT.format(module=module)], check=True)
