"""Every byte of every leaf is in the digest, wherever the leaf is."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from refmodel import digest
from refmodel.digest import params_digest


def tree(**changes):
    return {"a": np.arange(7 * 3 * 5, dtype=np.float32).reshape(7, 3, 5), "b": {"c": np.ones((), np.float16)}} | changes


@pytest.mark.parametrize("piece_bytes", [2**24, 120, 1])
def test_any_bit_anywhere_shows(piece_bytes, monkeypatch):
    monkeypatch.setattr(digest, "PIECE_BYTES", piece_bytes)
    own, seen = params_digest(tree()), set()
    for place in np.ndindex(7, 3, 5):
        changed = tree()
        changed["a"].view(np.uint32)[place] ^= 1
        seen.add(params_digest(changed))
    pieces = []
    assert params_digest(tree(), on_piece=lambda: pieces.append(1)) == own and len(pieces) >= 2
    assert len(seen) == 7 * 3 * 5 and own not in seen and params_digest(tree()) == own


@pytest.mark.parametrize(
    "changes",
    [
        {"a": tree()["a"].reshape(7, 5, 3)},
        {"a": tree()["a"].view(np.int32)},
        {"b": {"d": np.ones((), np.float16)}},
        {"b": {"c": np.ones((), np.float16) * 2}},
        {"e": np.zeros((0, 5))},
    ],
)
def test_so_do_shapes_dtypes_and_names(changes):
    assert params_digest(tree(**changes)) != params_digest(tree())


def test_jax_arrays_have_the_digest_of_their_values():
    found = {"a": jnp.asarray(tree()["a"]), "b": {"c": jnp.ones((), jnp.float16)}}
    assert params_digest(found) == params_digest(tree())
    assert params_digest({"x": jnp.ones((5, 3), jnp.bfloat16)}) != params_digest({"x": jnp.ones((5, 3), jnp.float16)})
