"""The annotations of public array functions are checked while tests run."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from attention.kernels.dense import attend_dense, attend_masked
from attention.mask import dense_mask
from attention.pattern import SpanPattern
from refmodel.norm import rms_norm
from refmodel.parts import Norm
from refmodel.rope import apply_rope
from tests.shapes import CHECKED, has_shapes

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", CHECKED)
def test_a_module_is_checked_and_has_shapes_to_check(name):
    module = importlib.import_module(name)
    functions = [value for value in vars(module).values() if inspect.isfunction(value) and value.__module__ == name]
    hints = {one: inspect.get_annotations(inspect.unwrap(one), eval_str=True).values() for one in functions}
    shaped = [one for one in functions if any(map(has_shapes, hints[one]))]
    assert shaped and all(hasattr(one, "__wrapped__") for one in shaped)


def test_every_module_whose_arrays_have_shapes_is_checked():
    files = (file for package in ("attention", "refmodel", "eval") for file in (ROOT / package).rglob("*.py"))
    shaped = (file for file in files if "from jaxtyping import" in file.read_text(encoding="utf-8"))
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in shaped}
    assert names == {*CHECKED, "attention.attend"}


def test_a_wrong_shape_is_caught():
    with pytest.raises(TypeCheckError, match="scale"):
        rms_norm(jnp.ones((2, 3, 7)), jnp.ones(5), Norm())
    with pytest.raises(TypeCheckError, match="angles"):
        apply_rope(jnp.ones((2, 3, 5, 4)), (jnp.ones((2, 7, 1, 2)), jnp.ones((2, 7, 1, 2))))
    q_btnh, k_bskh = jnp.ones((2, 3, 5, 7)), jnp.ones((2, 11, 5, 7))
    with pytest.raises(TypeCheckError, match="mask_bnts"):
        attend_masked(q_btnh, k_bskh, k_bskh, jnp.ones((2, 5, 11, 3), bool))


def test_a_wrong_dtype_is_caught():
    q_pos_bt, kv_pos_bks = jnp.ones((1, 3)), jnp.ones((1, 1, 5), jnp.int32)
    with pytest.raises(TypeCheckError, match="q_pos_bt"):
        dense_mask(SpanPattern(), q_pos_bt, kv_pos_bks, 2)
    x_btnh = jnp.ones((1, 3, 2, 7), jnp.int32)
    with pytest.raises(TypeCheckError, match="q_btnh"):
        attend_dense(x_btnh, x_btnh, x_btnh, q_pos_bt.astype(jnp.int32), kv_pos_bks[..., :3], SpanPattern())
