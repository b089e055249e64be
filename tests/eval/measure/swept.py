"""A small sweep, and sweeps run as `run_comparison` runs them, without a folder of its own."""

from __future__ import annotations

import jax.numpy as jnp

from eval.measure import sweep
from eval.measure.named_layout import named_layouts
from eval.measure.plan import Sweep, Text
from eval.measure.timing import Budget
from refmodel.presets import preset
from refmodel.source import Model
from refmodel.weights.random import random_params
from tests.compiling import unoptimised


def tiny_sweep(layout: str, text: Text) -> Sweep:
    """One layout on a small model, at two lengths and with quality, each program run once."""
    config = preset("tiny-dense")
    with unoptimised():
        model = Model(config, random_params(config, 0, jnp.float32), None, "random")
    layouts = named_layouts([layout], config.n_layers)
    return Sweep(model, text, layouts, layouts, (17, 31), 29, Budget(0, 1, 1))


def run_sweep(planned, cells, path, invocation=None, **told):
    return sweep.run_sweep(planned, cells, path, sweep.run_of(planned, invocation), **told)


def missing_cells(planned, path):
    return sweep.missing_cells(planned, path, sweep.run_of(planned))


def records_file(planned, folder, **told):
    return sweep.records_file(planned, folder, sweep.run_of(planned), **told)
