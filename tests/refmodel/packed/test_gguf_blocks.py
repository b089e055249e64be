"""Blocks of GGUF files as arrays: the package gguf's own numbers bit for bit, in as many bytes as the file has."""

from __future__ import annotations

import functools

import gguf
import jax
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

from refmodel.packed import gguf_blocks
from refmodel.packed.gguf_blocks import gguf_coding, parts_of_blocks
from refmodel.packed.gguf_codings import GGUF_CODINGS

KINDS = [kind for kind in Kind if gguf_coding(kind)]
ROWS, DEPTH = 3, 512


def row_bytes(kind, depth=DEPTH):
    numbers, block_bytes = GGML_QUANT_SIZES[kind]
    return depth // numbers * block_bytes


def stored(kind, *lead, depth=DEPTH, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*lead, row_bytes(kind, depth)), np.uint8)


def dequantised(kind, rows):
    with np.errstate(all="ignore"):
        return gguf.dequantize(rows, kind)


@functools.cache
def decoder(kind, jitted):
    coding = gguf_coding(kind)
    decode = functools.partial(coding.decode, rows=ROWS, depth=DEPTH)
    return jax.jit(decode) if jitted else decode


def assert_same_bits(found, wanted):
    """Or both no number, of which there are many."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.dtype == wanted.dtype == np.float32
    same = found.view(np.uint32) == wanted.view(np.uint32)
    assert (same | np.isnan(found) & np.isnan(wanted)).all()


def test_the_types_that_are_kept():
    assert {kind.name.lower() for kind in KINDS} == GGUF_CODINGS.keys() == {
        "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4",
    }  # fmt: skip
    assert gguf_coding(Kind.Q2_K) is gguf_coding(Kind.BF16) is gguf_coding(99) is None


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_every_number_is_that_of_the_package(kind, jitted, seed):
    """Of any bytes: scales that are infinite, negative or no number are among them."""
    rows = stored(kind, ROWS, seed=seed)
    if kind == Kind.MXFP4:  # what the smallest scales make is below
        scale = rows.reshape(ROWS, -1, 17)[..., 0]
        scale[scale < 2] += 2
    assert_same_bits(decoder(kind, jitted)(parts_of_blocks(kind, rows)), dequantised(kind, rows))


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0])
def test_what_the_package_quantises_comes_back(kind):
    weight = np.random.default_rng(0).normal(size=(ROWS, DEPTH)).astype(np.float32)
    rows = gguf.quantize(weight, kind)
    found = decoder(kind, False)(parts_of_blocks(kind, rows))
    assert_same_bits(found, dequantised(kind, rows))
    assert 0 < np.abs(found - weight).max() < 0.3


def test_every_scale_of_mxfp4():
    """A row for each, with every level; those of the smallest two are left as 0."""
    rows = np.repeat(np.arange(256, dtype=np.uint8), 34).reshape(256, 2, 17)
    rows[..., 1:] = np.arange(16) | np.arange(16)[::-1] << 4
    rows = rows.reshape(256, 34)
    found = np.asarray(gguf_coding(Kind.MXFP4).decode(parts_of_blocks(Kind.MXFP4, rows), 256, 64))
    wanted = dequantised(Kind.MXFP4, rows)
    assert_same_bits(found[2:], wanted[2:])
    assert not found[:2].any() and np.abs(wanted[:2]).max() <= 1.5 * 2.0**-124


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_as_many_bytes_as_the_file(kind):
    parts = parts_of_blocks(kind, stored(kind, 2, ROWS))
    assert sum(part.nbytes for part in parts.values()) == 2 * ROWS * row_bytes(kind)
    assert gguf_coding(kind).matrix_bytes(ROWS, DEPTH) == ROWS * row_bytes(kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_rows_of_any_layout_and_in_any_lots(kind, monkeypatch):
    """Axes in front, every other row, a lot that ends within a matrix, arrays that are there already."""
    coding, rows = gguf_coding(kind), stored(kind, 2, 5, 14)[:, :, 1::2]
    wanted = [parts_of_blocks(kind, np.ascontiguousarray(rows[i, j])) for i in range(2) for j in range(5)]
    monkeypatch.setattr(gguf_blocks, "_LOT_BYTES", 3 * row_bytes(kind))
    parts = parts_of_blocks(kind, rows)
    shapes = {name: ((2, 5, *shape), dtype) for name, (shape, dtype) in coding.shapes(7, DEPTH).items()}
    assert {name: (part.shape, part.dtype) for name, part in parts.items()} == shapes
    for name, part in parts.items():
        np.testing.assert_array_equal(part.reshape(10, *part.shape[2:]), np.stack([one[name] for one in wanted]))
    out = {name: np.zeros_like(part) for name, part in parts.items()}
    assert parts_of_blocks(kind, rows, out) is out
    for name, part in parts.items():
        np.testing.assert_array_equal(out[name], part)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_row_that_is_no_whole_blocks_is_refused(kind):
    coding = gguf_coding(kind)
    with pytest.raises(
        ValueError, match=rf"{coding.name} has blocks of \d+ bytes; rows of {row_bytes(kind) - 1} bytes"
    ):
        parts_of_blocks(kind, stored(kind, 2)[:, :-1])


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q5_1, Kind.IQ4_NL, Kind.MXFP4])
def test_an_odd_number_of_blocks_is_refused(kind):
    assert not gguf_coding(kind).holds(96)
    with pytest.raises(ValueError, match=f"{kind.name.lower()} takes rows of a multiple of 64 numbers, got 96"):
        parts_of_blocks(kind, stored(kind, 2, depth=96))


def test_a_type_without_a_coding_is_refused():
    with pytest.raises(ValueError, match="Q2_K has no coding; accepted: q4_0, q4_1, q5_0"):
        parts_of_blocks(Kind.Q2_K, np.zeros((1, 84), np.uint8))
