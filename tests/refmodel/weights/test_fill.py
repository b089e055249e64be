"""The table and the filling: checked before anything is allocated, each leaf allocated once and used in place."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.weights import fill as subject

TREE = {
    "blocks": {
        "dense": {"attn": {"o": jax.ShapeDtypeStruct((2, 3, 4, 7), jnp.bfloat16)}},
        "moe": {"ffn": {"up": jax.ShapeDtypeStruct((1, 5, 7, 11), jnp.bfloat16)}},
    },
    "norm": {"scale": jax.ShapeDtypeStruct((7,), jnp.bfloat16)},
}
NAMES = {"blocks.dense.attn.o": "l{layer}.o", "blocks.moe.ffn.up": "l{layer}.{expert}.up", "norm.scale": "n"}
KINDS = ("dense", "moe", "dense")
ROWS = subject.table(subject.leaves_by_path(TREE), NAMES, KINDS)
STORED = {row.name: np.random.default_rng(len(row.name)).normal(size=row.shape).astype(np.float32) for row in ROWS}


def shapes(**changed):
    return {name: array.shape for name, array in STORED.items()} | changed


def test_table_names_every_tensor_once():
    assert [(row.name, row.shape, row.index) for row in ROWS if "up" not in row.name] == [
        ("l0.o", (7, 12), (0,)), ("l2.o", (7, 12), (1,)), ("n", (7,), ()),
    ]  # fmt: skip
    assert [(row.name, row.index) for row in ROWS if "up" in row.name] == [(f"l1.{e}.up", (0, e)) for e in range(5)]


def test_fill_uses_each_allocation_in_place(monkeypatch):
    allocated = []
    allocate = subject._aligned_empty
    monkeypatch.setattr(subject, "_aligned_empty", lambda *args: allocated.append(allocate(*args)) or allocated[-1])
    tree = subject.fill(TREE, ROWS, shapes(), STORED.__getitem__, "here")
    assert {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)} == {a.ctypes.data for a in allocated}
    want = STORED["l2.o"].T.reshape(3, 4, 7).astype(jnp.bfloat16)
    np.testing.assert_array_equal(tree["blocks"]["dense"]["attn"]["o"][1], want)
    np.testing.assert_array_equal(tree["blocks"]["moe"]["ffn"]["up"][0, 3], STORED["l1.3.up"].T.astype(jnp.bfloat16))
    np.testing.assert_array_equal(tree["norm"]["scale"], STORED["n"].astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({k: v for k, v in shapes().items() if k != "l0.o"}, "^here lacks tensor l0.o$"),
        ({k: v for k, v in shapes().items() if "up" not in k}, "^here lacks tensor l1.0.up and 4 more$"),
        (shapes(bias=(3,)), "^here has surplus tensor bias$"),
        (shapes(n=(8,)), r"^here: n has shape \(8,\); the model's norm.scale needs \(7,\)$"),
        (shapes(**{"l2.o": (12, 7)}), r"l2.o has shape \(12, 7\); the model's blocks.dense.attn.o needs \(7, 12\)"),
    ],
)
def test_fill_checks_before_it_allocates(monkeypatch, found, message):
    monkeypatch.setattr(subject, "_aligned_empty", lambda *args: pytest.fail("allocated"))
    with pytest.raises(ValueError, match=message):
        subject.fill(TREE, ROWS, found, STORED.__getitem__, "here")
