"""A GPU's memory is asked for before JAX opens it: afterwards nobody hears it."""

from __future__ import annotations

import os

import jax
import pytest

from eval.measure.device import DEVICE_SHARE, opens_a_gpu

ASKED = "XLA_CLIENT_MEM_FRACTION"


@pytest.mark.parametrize("stands", [None, "0.5"])
def test_the_share_is_asked_for_before_the_device_opens(monkeypatch, stands):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setenv(ASKED, stands or "none")  # so that it is as before when the test ends
    if stands is None:
        monkeypatch.delenv(ASKED)
    seen = []
    monkeypatch.setattr(jax, "default_backend", lambda: seen.append(os.environ.get(ASKED)) or "gpu")
    assert opens_a_gpu()
    assert seen == [stands or str(DEVICE_SHARE)]
