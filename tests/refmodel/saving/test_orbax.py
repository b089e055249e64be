"""Parameters are a tree like any other: orbax keeps and restores them, as docs/checkpoints.md says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import orbax.checkpoint as ocp
import pytest

import refmodel
from refmodel.digest import params_digest
from refmodel.tree import abstract_params

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_orbax_restores_the_parameters_bit_for_bit_and_they_are_saved_as_a_folder(dtype, tmp_path):
    model = refmodel.load(str(GOLDEN / "moe-and-dense"), dtype=dtype)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "step", model.params)
        checkpointer.wait_until_finished()
        params = checkpointer.restore(tmp_path / "step", abstract_params(model.config, dtype))
    assert jax.tree.structure(params) == jax.tree.structure(model.params)
    assert params_digest(params) == params_digest(model.params)
    replace(model, params=params).save(tmp_path / "folder")
    assert params_digest(refmodel.load(str(tmp_path / "folder"), dtype=dtype).params) == params_digest(params)
