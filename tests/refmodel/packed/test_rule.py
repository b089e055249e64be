"""What of a model is packed: its bytes are those of the tree that is allocated."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from refmodel.decoder import decoder
from refmodel.packed.codings import codings, parse_coding
from refmodel.packed.held import held_weights
from refmodel.packed.packed import Packed
from refmodel.packed.rule import is_packed, outer_axes, row_bytes, weight_bytes
from refmodel.tree import abstract_params, leaves_by_path

MOE = decoder(
    "small", n_layers=3, d_model=256, n_heads=6, n_kv_heads=2, head_dim=128, vocab_size=37, n_experts=5,
    experts_per_token=2, d_expert=512, max_positions=31,
)  # fmt: skip


@pytest.mark.parametrize("name", [None, *codings()])
def test_the_bytes_that_are_told_are_those_of_the_tree(name):
    coding = parse_coding(name) if name else None
    tree = abstract_params(MOE, jnp.bfloat16, coding)
    n_bytes = sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))
    assert weight_bytes(MOE, jnp.bfloat16, coding) == n_bytes == held_weights(tree).n_bytes
    assert held_weights(tree).format == (coding.name if coding else "")


def test_what_is_multiplied_by_is_packed_and_norms_and_routers_are_not():
    leaves = leaves_by_path(abstract_params(MOE, jnp.bfloat16, parse_coding("int4")))
    packed = {path: leaf.shape for path, leaf in leaves.items() if isinstance(leaf, Packed)}
    block = "blocks.moe."
    assert packed == {
        "embed.embedding": (37, 256), "head.kernel": (37, 256),
        f"{block}attn.q": (3, 768, 256), f"{block}attn.k": (3, 256, 256), f"{block}attn.v": (3, 256, 256),
        f"{block}attn.o": (3, 256, 768), f"{block}ffn.gate": (3, 5, 512, 256), f"{block}ffn.up": (3, 5, 512, 256),
        f"{block}ffn.down": (3, 5, 256, 512),
    }  # fmt: skip
    assert leaves[f"{block}attn.q"].outer == (6, 128) and leaves[f"{block}attn.o"].outer == (256,)
    assert leaves[f"{block}ffn.gate"].outer == (512,)


ROWS = {row.path: row for row in (*MOE.outside, *MOE.layers[0].parameters)}


def test_matrices_of_few_rows_stay():
    q = ROWS["attn.q"]
    few = dataclasses.replace(q, shape=(256, 3, 5))
    assert (
        not is_packed(few, parse_coding("int4")) and row_bytes(few, jnp.bfloat16, parse_coding("int4")) == 2 * 256 * 15
    )
    enough = dataclasses.replace(q, shape=(256, 4, 4))
    assert is_packed(enough, parse_coding("int4")) and row_bytes(enough, jnp.bfloat16, parse_coding("int4")) == 16 * 144
    assert outer_axes(q) == (6, 128) and not is_packed(q, None)


def test_rows_that_a_coding_cannot_hold_are_named():
    with pytest.raises(ValueError, match=r"q4_k packs rows of a multiple of 256 numbers, those of attn\.q have 320"):
        is_packed(dataclasses.replace(ROWS["attn.q"], shape=(320, 6, 128)), parse_coding("q4_k"))
