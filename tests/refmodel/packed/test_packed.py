"""Packed arrays as leaves: a tree goes through JAX and comes back, a layer is taken out, numbers are expanded."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.packed.codings import codings, parse_coding
from refmodel.packed.packed import Packed, abstract_packed

CODINGS = codings()


def drawn(coding, shape, dtype=jnp.bfloat16, outer=()):
    return Packed(coding.draw(jax.random.key(0), shape, 1.0), coding, shape, jnp.dtype(dtype), outer)


@pytest.mark.parametrize("name", ["int4", "q6_k", "uint4", "fp8_blocks"])
def test_a_leaf_goes_through_jax(name):
    packed = drawn(CODINGS[name], (3, 130, 256), outer=(10, 13))
    leaves, structure = jax.tree.flatten({"w": packed})
    assert len(leaves) == len(packed.parts)
    again = jax.tree.unflatten(structure, leaves)["w"]
    assert (again.coding, again.shape, again.dtype, again.outer) == (
        packed.coding,
        (3, 130, 256),
        jnp.bfloat16,
        (10, 13),
    )
    np.testing.assert_array_equal(jax.jit(lambda w: w.expand())(again), packed.expand())
    assert again.expand().dtype == jnp.bfloat16
    assert (packed.ndim, packed.size) == (3, 3 * 130 * 256)
    assert packed.nbytes == 3 * packed.coding.matrix_bytes(130, 256)


def test_another_coding_is_another_structure():
    """So that nothing is compiled for one and run with the other."""
    one, other = (drawn(parse_coding(name), (4, 128)) for name in ("int4(32)", "int4(64)"))
    assert jax.tree.structure(one) != jax.tree.structure(other)


@pytest.mark.parametrize("name", CODINGS)
def test_a_layer_is_taken_out(name, fast_compile):
    packed = drawn(CODINGS[name], (3, 2, 130, 256))
    taken = jax.jit(lambda w, i: w.at(i))(packed, 1)
    assert taken.shape == (2, 130, 256) and taken.coding == packed.coding
    np.testing.assert_array_equal(taken.expand(), packed.expand()[1])


@pytest.mark.parametrize("name", ["int4", "q6_k", "uint4", "fp8_blocks"])
def test_rows_are_picked_and_a_layer_is_put_in_front(name):
    packed = drawn(CODINGS[name], (259, 256))
    row = jnp.array([[3, 258, 0], [130, 3, 129]])
    np.testing.assert_array_equal(packed.take(row), packed.expand()[row])
    assert packed.stacked.shape == (1, 259, 256)
    np.testing.assert_array_equal(packed.stacked.at(0).expand(), packed.expand())


@pytest.mark.parametrize("name", CODINGS)
def test_shapes_are_known_before_anything_is_allocated(name):
    shape = (3, 130, 768)
    packed, abstract = drawn(CODINGS[name], shape), abstract_packed(CODINGS[name], shape, jnp.bfloat16)
    assert jax.tree.structure(abstract) == jax.tree.structure(packed)
    for one, other in zip(jax.tree.leaves(abstract), jax.tree.leaves(packed), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert abstract.nbytes == packed.nbytes


def test_what_a_coding_cannot_hold_has_no_shapes():
    with pytest.raises(ValueError, match="q4_k takes rows of a multiple of 256 numbers, got 128"):
        abstract_packed(CODINGS["q4_k"], (3, 130, 128), jnp.bfloat16)
