"""Formats of weights: what a coding takes of a model and what it leaves, in bytes that are stored and that are read."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.cost.flops.bits import BITS, as_bytes
from eval.cost.flops.formats import Storage, coding_of, copy_bits, weight_bytes, weights_record
from eval.cost.flops.traffic import kv_cache_bytes, steps_bytes
from refmodel.decoder import decoder
from refmodel.packed.codings import parse_coding
from refmodel.presets import PRESETS, preset
from refmodel.schedule import decode_steps, prefill_steps
from refmodel.tree import abstract_params

QWEN = preset("qwen3-30b-a3b")
CODINGS = ("int4", "int4(128)", "int8", "fp8", "fp8(64)")
D, F, V, LAYERS = 192, 320, 997, 3


def small(tied: bool):
    """Every matrix is of a depth that groups of 64 divide."""
    return decoder("small", LAYERS, D, 5, 1, 64, V, d_ff=F, tied_head=tied)


def matrices(tied: bool) -> dict[str, list[tuple[int, int, int]]]:
    """How many [rows, depth] of each component there are, written down beside the model."""
    projections = [(LAYERS, 5 * 64, D), (2 * LAYERS, 64, D), (LAYERS, D, 5 * 64)]
    ffn = [(2 * LAYERS, F, D), (LAYERS, D, F)]
    return {"attention_projections": projections, "feed_forward": ffn, "head": [(1, V, D)]} | (
        {} if tied else {"embedding": [(1, V, D)]}
    )


@pytest.mark.parametrize("tied", [True, False])
def test_a_coding_takes_the_matrices_and_leaves_the_norms(tied: bool) -> None:
    model, norms = small(tied), LAYERS * (2 * D + 2 * 64) + D
    by_hand = {name: sum(n * rows * (depth // 2 + 2 * depth // 64) for n, rows, depth in some)
               for name, some in matrices(tied).items()}  # fmt: skip
    assert weight_bytes(model, "int4(64)") == sum(by_hand.values()) + 2 * norms
    with pytest.raises(
        ValueError, match=r"int4\(128\) packs rows of a multiple of 128 numbers, those of attn\.q have 192"
    ):
        weight_bytes(model, "int4(128)")
    moved = steps_bytes(model, prefill_steps(11), Storage("int4(64)"))
    assert {name: moved[name] for name in by_hand if name in moved} == {
        name: size for name, size in by_hand.items() if name != "embedding"
    }


@pytest.mark.parametrize(
    ("name", "coding"),
    [*product(("qwen3-30b-a3b", "qwen3.5-35b-a3b"), CODINGS),
     *product(("smollm2-135m", "gpt-oss-20b", "gemma4-26b-a4b"), ("int4", "fp8", "fp8(64)"))],
)  # fmt: skip
def test_bytes_are_those_of_the_arrays_that_run(name: str, coding: str) -> None:
    model = preset(name)
    arrays = jax.tree.leaves(abstract_params(model, jnp.bfloat16, parse_coding(coding)))
    assert weight_bytes(model, coding) == sum(one.size * one.dtype.itemsize for one in arrays)
    assert weights_record(model, coding) == {
        "format": coding, "bits_per_weight": 8 * weight_bytes(model, coding) / model.params,
        "bytes": weight_bytes(model, coding),
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("tiny")])
def test_no_model_grows_by_a_coding_and_none_shrinks_below_its_bits(name: str) -> None:
    model = preset(name)
    half, quarter = weight_bytes(model, "8bit"), weight_bytes(model, "4.5bit")
    assert quarter <= weight_bytes(model, "int4") < weight_bytes(model, "int8") <= weight_bytes(model)
    assert half < weight_bytes(model, "fp8")


def test_a_token_reads_the_experts_that_it_chose_and_the_router_as_it_is() -> None:
    moved = steps_bytes(QWEN, decode_steps(1000), Storage("int4", "8bit"))
    row = 2048 // 2 + 2 * 2048 // 32  # levels and scales of one row of the hidden width
    assert moved["experts"] == 48 * 8 * 3 * 768 * row
    assert moved["router"] == 48 * 128 * 2048 * 2
    assert moved["head"] == 151_936 * row
    assert moved["attention"] == 98_304 // 2 * 1002
    routed = QWEN.with_layout("routed(64|full)")
    assert steps_bytes(routed, decode_steps(1000), Storage("int4"))["selection"] == 48 * 2048 * 2 * 2


@given(st.sampled_from([*BITS, *CODINGS]), st.integers(1, 700), st.sampled_from([None, 5, 64]))
def test_steps_add_up_whatever_the_format(weights: str, tokens: int, chunk: int | None) -> None:
    """The bytes of steps are those of each alone, but for a rounding up of each."""
    model, storage = preset("qwen3.5-35b-a3b"), Storage(weights)
    steps = prefill_steps(tokens, chunk)
    together, alone = steps_bytes(model, steps, storage), [steps_bytes(model, (step,), storage) for step in steps]
    for name, size in together.items():
        assert 0 <= sum(one.get(name, 0) for one in alone) - size < len(steps) + (len(steps) == 1)


def test_part_of_a_byte_is_a_byte() -> None:
    model = decoder("odd", 1, 40, 5, 1, 8, V, d_ff=7)
    moved = steps_bytes(model, prefill_steps(3), Storage("4.5bit"))
    assert moved["feed_forward"] == math.ceil(3 * 40 * 7 * 4.5 / 8) == 473


def test_bits_of_one_copy() -> None:
    gate, router = (QWEN.layers[0].parameter(f"ffn.{name}") for name in ("gate", "router"))
    assert copy_bits(gate, "int4") == 2048 * 768 * Fraction(9, 2) and copy_bits(gate, "bf16") == 2048 * 768 * 16
    assert copy_bits(router, "int4") == 2048 * 128 * 16 and copy_bits(router, "4.5bit") == 2048 * 128 * Fraction(9, 2)


def test_nominal_formats_are_no_codings() -> None:
    assert [coding_of(name) for name in BITS] == [None] * len(BITS)
    assert coding_of("int4").name == "int4(32)"
    assert (as_bytes(3, "4.5bit"), as_bytes(16, "4.5bit"), as_bytes(7, "4bit")) == (2, 9, 4)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        (("3bit",), r"no format of weights '3bit'.*accepted: f32, bf16, 8bit, 4\.5bit, 4bit, int4, int8, fp8"),
        (("int4(7)",), "int4 takes groups of a multiple of 16, got 7"),
        (("bf16", "int4"), r"no storage format 'int4'; accepted: f32, bf16, 8bit, 4\.5bit, 4bit$"),
    ],
)
def test_other_formats_are_refused(storage: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Storage(*storage)


def test_the_cache_has_its_own_format() -> None:
    assert kv_cache_bytes(QWEN, 7, "4bit") == 7 * 98_304 // 4
