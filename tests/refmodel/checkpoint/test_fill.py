"""The placements and the filling: checked before anything is allocated, each leaf allocated once and used in place."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.checkpoint import fill as subject
from refmodel.checkpoint.placement import placements
from refmodel.decoder import decoder
from refmodel.tree import abstract_params, leaves_by_path

CONFIG = decoder(
    "mixed", n_layers=3, d_model=7, n_heads=3, n_kv_heads=1, head_dim=4, vocab_size=13, d_ff=17, n_experts=5,
    experts_per_token=2, d_expert=11, mlp_only_layers=(0, 2), layout=(), tied_head=True,
)  # fmt: skip


def stored_name(row):
    if row.copies > 1:
        return f"l{{layer}}.{{expert}}.{row.path}"
    return row.path if row in CONFIG.outside else f"l{{layer}}.{row.path}"


PLACED = placements(CONFIG, stored_name, 0, "here")
STORED = {one.name: np.random.default_rng(len(one.name)).normal(size=one.shape).astype(np.float32) for one in PLACED}


def shapes(**changed):
    return {name: array.shape for name, array in STORED.items()} | changed


def test_every_tensor_has_its_place_and_every_leaf_is_covered():
    found = {one.name: (one.shape, one.leaf, one.index) for one in PLACED}
    assert len(found) == len(PLACED)
    assert found["l0.attn.o"] == ((7, 12), "blocks.dense.attn.o", (0,))
    assert found["l2.attn.o"] == ((7, 12), "blocks.dense.attn.o", (1,))
    assert found["l1.attn.k"] == ((4, 7), "blocks.moe.attn.k", (0,))
    assert found["embed.embedding"] == ((13, 7), "embed.embedding", ())
    assert [found[f"l1.{e}.ffn.up"] for e in range(5)] == [((11, 7), "blocks.moe.ffn.up", (0, e)) for e in range(5)]
    assert {one.leaf for one in PLACED} == leaves_by_path(abstract_params(CONFIG)).keys()


def test_fill_uses_each_allocation_in_place(monkeypatch):
    allocated = []
    allocate = subject.aligned_empty
    monkeypatch.setattr(subject, "aligned_empty", lambda *args: allocated.append(allocate(*args)) or allocated[-1])
    tree = subject.fill(CONFIG, jnp.bfloat16, PLACED, shapes(), STORED.__getitem__, "here")
    assert {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)} == {a.ctypes.data for a in allocated}
    dense, moe = tree["blocks"]["dense"], tree["blocks"]["moe"]
    want = STORED["l2.attn.o"].T.reshape(3, 4, 7).astype(jnp.bfloat16)
    np.testing.assert_array_equal(dense["attn"]["o"][1], want)
    np.testing.assert_array_equal(moe["ffn"]["up"][0, 3], STORED["l1.3.ffn.up"].T.astype(jnp.bfloat16))
    np.testing.assert_array_equal(tree["embed"]["embedding"], STORED["embed.embedding"].astype(jnp.bfloat16))
    np.testing.assert_array_equal(tree["final_norm"]["scale"], STORED["final_norm.scale"].astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({k: v for k, v in shapes().items() if k != "l0.attn.o"}, "^here lacks tensor l0.attn.o$"),
        ({k: v for k, v in shapes().items() if "1.ffn.up" not in k}, "^here lacks tensor l1.1.ffn.up$"),
        ({k: v for k, v in shapes().items() if "ffn.up" not in k}, "^here lacks tensor l0.ffn.up and 6 more$"),
        (shapes(bias=(3,)), "^here has surplus tensor bias$"),
        (
            shapes(**{"final_norm.scale": (8,)}),
            r"^here: final_norm.scale has shape \(8,\); the model's final_norm.scale needs \(7,\)$",
        ),
        (
            shapes(**{"l2.attn.o": (12, 7)}),
            r"l2.attn.o has shape \(12, 7\); the model's blocks.dense.attn.o needs \(7, 12\)",
        ),
    ],
)
def test_fill_checks_before_it_allocates(monkeypatch, found, message):
    monkeypatch.setattr(subject, "aligned_empty", lambda *args: pytest.fail("allocated"))
    with pytest.raises(ValueError, match=message):
        subject.fill(CONFIG, jnp.bfloat16, PLACED, found, STORED.__getitem__, "here")


@pytest.mark.parametrize("most_bytes", [0, 2**27])
@pytest.mark.parametrize("name", ["l0.attn_norm.scale", "l2.attn.o"])
def test_a_fault_in_a_task_is_not_lost(monkeypatch, name, most_bytes):
    """Of the last tensor of a leaf, and of one before it; one by one, and together."""
    monkeypatch.setattr(subject, "_MOST_BYTES", most_bytes)
    stored = STORED | {name: np.full(STORED[name].shape, "x")}
    with pytest.raises(ValueError, match="could not convert string to float"):
        subject.fill(CONFIG, jnp.float32, PLACED, shapes(), stored.__getitem__, "here")


class Task:
    """Of `put`: done when somebody waits for it; its numbers are `going` until then."""

    def __init__(self, size_bytes, going):
        self.size_bytes, self.going = size_bytes, going
        going.append(size_bytes)

    def result(self):
        self.going.remove(self.size_bytes)


@pytest.mark.parametrize("lacking_bytes", [0, 1])
def test_no_more_is_read_than_may_be_in_memory_together(monkeypatch, lacking_bytes):
    """Two tensors of a leaf: where there is no room for both, the first is in its place before the next is read."""
    size_bytes = 7 * 12 * 4
    monkeypatch.setattr(subject, "_MOST_BYTES", 2 * size_bytes - lacking_bytes)
    monkeypatch.setattr(subject, "put", lambda part, row, stored, pool: [Task(stored.nbytes, going)])
    going, beside = [], {}

    def read(name):
        beside[name] = sum(going)
        return STORED[name]

    subject.fill(CONFIG, jnp.float32, PLACED, shapes(), read, "here")
    assert (beside["l0.attn.o"], beside["l2.attn.o"]) == (0, 0 if lacking_bytes else size_bytes)
    assert not going
