"""Small checkpoints with the fields of published config.json files, against transformers' logits."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.model import prefill
from tests.checkpoints import load
from tests.golden.real_configs import SHRINK

FOLDER = Path(__file__).parents[1] / "golden" / "real"
TOLERANCE = 1e-4
# Of two that differ in sizes alone.
MORE_OF_THE_SAME = ("Qwen3-Coder-30B-A3B-Instruct", "Qwen3-8B with YaRN", "Mistral-7B-v0.3")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow if one in MORE_OF_THE_SAME else ()) for one in SHRINK]
)
def test_logits_of_transformers(name, fast_compile):
    """At 37 tokens: the first 16 are within each original context, the last beyond."""
    folder = FOLDER / name.replace(" ", "-")
    config, params = load(folder, jnp.float32)
    golden = np.load(folder / "golden.npz")
    logits_btv = jax.jit(lambda ids: prefill(config, params, ids, logits="all")[0])(golden["tokens"])
    assert np.abs(logits_btv - golden["logits"]).max() < TOLERANCE
