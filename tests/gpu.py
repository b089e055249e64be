"""What tests of GPU kernels share."""

from __future__ import annotations

import contextlib

import jax
import numpy as np
import pytest

TRITON_IS_LEAVING = pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
"""jax 0.11 and later announce it; it is the only backend of Pallas for ROCm."""


def close(out, exact, relative: float) -> bool:
    """||out - exact|| <= relative · ||exact||, NaN never passing."""
    out, exact = (np.asarray(x, np.float64) for x in (out, exact))
    return bool(np.linalg.norm(out - exact) <= relative * np.linalg.norm(exact))


def absent_gpu(kind: str) -> contextlib.AbstractContextManager:
    """What Pallas asks about a GPU that is not there; before jax 0.11 it did not ask."""
    if jax.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    device = jax.sharding.AbstractDevice(device_kind=kind, num_cores=None, platform="gpu")
    axes = (jax.sharding.AxisType.Auto,)
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",), axes, abstract_device=device))


@contextlib.contextmanager
def gpu_interpreter():
    """Parameters under which Pallas-Mosaic kernels run on a CPU, with races detected; afterwards there were none."""
    from jax._src.pallas.mosaic_gpu.interpret import interpret_pallas_call  # not public in jax 0.10
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

    yield InterpretGPUParams(detect_races=True)
    races = interpret_pallas_call.get_races()
    assert not races.races_found
