"""Tests of the device that a program is compiled for."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import pytest

from attention.kernels.target import compiling_for, current_target, is_gpu, is_nvidia


@pytest.mark.parametrize(
    ("name", "gpu", "nvidia"), [("gfx1201", True, False), ("sm_90", True, True), ("cpu", False, False)]
)
def test_what_a_name_says(name, gpu, nvidia):
    assert (is_gpu(name), is_nvidia(name)) == (gpu, nvidia)


def test_a_device_that_is_not_there_is_compiled_for_only_inside_the_context():
    here = current_target()
    with compiling_for("gfx1201"):
        assert current_target() == "gfx1201"
    assert current_target() == here
    assert is_gpu(here) == (jax.default_backend() == "gpu")


def test_the_default_device_is_the_one_compiled_for(monkeypatch):
    """Also where the first device is another."""
    (cpu, *_), gpu = jax.devices("cpu"), SimpleNamespace(platform="gpu", compute_capability="9.0")
    monkeypatch.setattr(jax, "devices", lambda platform=None: [gpu] if platform is None else [cpu])
    assert current_target() == "sm_90"
    for chosen in ("cpu", cpu):
        with jax.default_device(chosen):
            assert current_target() == "cpu"
