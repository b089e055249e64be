"""Packed tensors of Hugging Face folders, against their published unpacking, number by number."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmodel.checkpoint.formats import WEIGHT_FORMATS
from refmodel.packed.folder_parts import parts_of_awq, parts_of_fp8, parts_of_gptq, parts_of_mxfp4

E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6)
IN, OUT = 192, 24


def words(rng, *shape):
    return rng.integers(0, 2**32, shape, np.uint32).view(np.int32)


def four_bits(word, place):
    return int(word) >> 4 * place & 15


def awq_tensors(seed=0, group=64, depth=IN, out=OUT):
    rng = np.random.default_rng(seed)
    scales = rng.normal(size=(depth // group, out)).astype(np.float16)
    return words(rng, depth, out // 8), words(rng, depth // group, out // 8), scales


def gptq_tensors(seed=0, group=64, depth=IN, out=OUT):
    rng = np.random.default_rng(seed)
    scales = rng.normal(size=(depth // group, out)).astype(np.float16)
    zeros = words(rng, depth // group, out // 8)
    return words(rng, depth // 8, out), zeros, scales, (np.arange(depth) // group).astype(np.int32)


def from_awq(qweight, qzeros, scales):
    """AutoAWQ's GEMM version: column 8·w + c of a word's eight is its nibble number (0, 4, 1, 5, 2, 6, 3, 7)[c]."""
    place = (0, 4, 1, 5, 2, 6, 3, 7)
    depth, out = len(qweight), scales.shape[1]
    weight = np.empty((out, depth), np.float32)
    for i, o in np.ndindex(depth, out):
        group = i // (depth // len(scales))
        level = four_bits(qweight[i, o // 8], place[o % 8])
        zero = four_bits(qzeros[group, o // 8], place[o % 8])
        weight[o, i] = np.float32(level - zero) * np.float32(scales[group, o])
    return weight


def from_gptq(qweight, qzeros, scales, g_idx, version):
    """AutoGPTQ: zero points of version 1 are stored less one, and wrap."""
    depth, out = 8 * len(qweight), scales.shape[1]
    weight = np.empty((out, depth), np.float32)
    for i, o in np.ndindex(depth, out):
        zero = four_bits(qzeros[g_idx[i], o // 8], o % 8)
        zero = (zero + 1) % 16 if version == 1 else zero
        level = four_bits(qweight[i // 8, o], i % 8)
        weight[o, i] = np.float32(level - zero) * np.float32(scales[g_idx[i], o])
    return weight


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from((16, 64, 192)))
def test_awq(seed, group):
    tensors = awq_tensors(seed, group)
    coding, parts = parts_of_awq(*tensors)
    assert coding.name == f"uint4({group})"
    assert_shapes(coding, parts, OUT, IN)
    np.testing.assert_array_equal(coding.decode(parts, OUT, IN), from_awq(*tensors))


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from((16, 64, 192)), st.sampled_from((1, 2)), st.booleans())
def test_gptq(seed, group, version, indexed):
    *tensors, g_idx = gptq_tensors(seed, group)
    coding, parts = parts_of_gptq(*tensors, g_idx if indexed else None, version=version)
    assert coding.name == f"uint4({group})"
    assert_shapes(coding, parts, OUT, IN)
    np.testing.assert_array_equal(coding.decode(parts, OUT, IN), from_gptq(*tensors, g_idx, version))


@pytest.mark.parametrize("shape", [(5, 2), (3, 5, 4), (2, 3, 5, 2)])
def test_mxfp4(shape):
    rng = np.random.default_rng(0)
    blocks, scales = rng.integers(0, 256, (*shape, 16), np.uint8), rng.integers(2, 250, shape, np.uint8)
    coding, parts = parts_of_mxfp4(blocks, scales)
    wanted = np.empty((*shape, 32), np.float64)
    for place in np.ndindex(*shape):
        for i in range(32):
            level = int(blocks[place][i // 2]) >> 4 * (i % 2) & 15
            wanted[*place, i] = (-1 if level & 8 else 1) * E2M1[level & 7] * 2.0 ** (int(scales[place]) - 127)
    wanted = wanted.reshape(*shape[:-1], -1)
    assert coding.name == "mxfp4"
    assert_shapes(coding, parts, *wanted.shape[-2:], *shape[:-2])
    np.testing.assert_array_equal(coding.decode(parts, *wanted.shape[-2:]), wanted)
    every_other, found = parts_of_mxfp4(blocks[..., ::2, :, :], scales[..., ::2, :])[1], parts
    np.testing.assert_array_equal(every_other["low"], found["low"][..., ::2, :])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(128, 256), (130, 128), (259, 384), (5, 128)])
def test_blocks_of_8_bit_floats(shape, dtype):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=shape).astype(jnp.float8_e4m3fn)
    scale = rng.uniform(0.5, 2, (-(-shape[0] // 128), shape[1] // 128)).astype(dtype)
    coding, parts = parts_of_fp8(weight, scale)
    assert_shapes(coding, parts, *shape)
    found = np.asarray(coding.decode(parts, *shape))
    wanted = np.array([[np.float32(weight[o, i]) * np.float32(scale[o // 128, i // 128]) for i in range(shape[1])]
                       for o in range(shape[0])])  # fmt: skip
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(found, WEIGHT_FORMATS["F8_E4M3"].decode(weight, scale))


def assert_shapes(coding, parts, rows, depth, *lead):
    """The arrays are those that a leaf of the tree has room for."""
    found = {name: (part.shape, part.dtype) for name, part in parts.items()}
    assert found == {name: ((*lead, *shape), dtype) for name, (shape, dtype) in coding.shapes(rows, depth).items()}


def changed(make, place, change):
    tensors = list(make())
    tensors[place] = change(tensors[place])
    return tensors


AWQ = r"\[in, out / 8\] and \[groups, out / 8\], float16 \[groups, out\]; groups of a multiple of 16 that divide in"
E4M3, U8 = jnp.float8_e4m3fn, np.uint8


def ones(shape, dtype=np.float32):
    return np.ones(shape, dtype)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (changed(awq_tensors, 1, lambda zeros: zeros[:-1]), rf"qzeros int32\[2, 3\], .*; accepted: int32 {AWQ}"),
        (changed(awq_tensors, 1, lambda zeros: zeros[:, :-1]), r"qzeros int32\[3, 2\]"),
        (changed(awq_tensors, 2, lambda scales: scales[:, :-1]), r"scales float16\[3, 23\]"),
        (changed(awq_tensors, 2, lambda scales: scales[:0]), r"scales float16\[0, 24\]"),
        (changed(awq_tensors, 2, lambda scales: scales.astype(np.float32)), r"scales float32\[3, 24\]"),
        (changed(awq_tensors, 0, lambda weight: weight.astype(np.int64)), r"qweight int64\[192, 3\]"),
        (changed(awq_tensors, 0, lambda weight: weight[0]), r"qweight int32\[3\]"),
        (changed(awq_tensors, 0, lambda weight: weight[:-1]), r"qweight int32\[191, 3\]"),
        (awq_tensors(group=8), r"scales float16\[24, 24\]; .* groups of a multiple of 16"),
        (awq_tensors(depth=96, group=32), r"qweight int32\[96, 3\].* that divide in, a multiple of 64"),
    ],
)
def test_what_is_not_awq_is_refused(tensors, message):
    with pytest.raises(ValueError, match=f"^awq has .*{message}"):
        parts_of_awq(*tensors)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (changed(gptq_tensors, 1, lambda zeros: zeros[:-1]),
         r"gptq has qweight int32\[24, 24\], qzeros int32\[2, 3\], .*; accepted: int32 \[in / 8, out\]"),
        (changed(gptq_tensors, 0, lambda weight: weight[0]), r"gptq has qweight int32\[24\], "),
        (changed(gptq_tensors, 3, lambda g_idx: g_idx[::-1]),
         r"gptq with act-order: g_idx is not in order; accepted: a model quantised without desc_act"),
        (changed(gptq_tensors, 3, lambda g_idx: g_idx[:-1]), "gptq with act-order"),
    ],
)  # fmt: skip
def test_what_is_not_gptq_or_in_another_order_is_refused(tensors, message):
    with pytest.raises(ValueError, match=message):
        parts_of_gptq(*tensors)


@pytest.mark.parametrize(
    ("weight", "scale", "message"),
    [
        (ones((5, 256), E4M3), ones((1, 1)), r"weight float8_e4m3fn\[5, 256\], weight_scale_inv float32\[1, 1\]"),
        (
            ones((5, 192), E4M3),
            ones((1, 2)),
            r"accepted: e4m3 \[out, in\], in a multiple of 128, with scales \[out / 128",
        ),
        (ones((5, 128), jnp.float8_e5m2), ones((1, 1)), r"weight float8_e5m2\[5, 128\]"),
        (ones((2, 5, 128), E4M3), ones((1, 1, 1)), r"weight float8_e4m3fn\[2, 5, 128\]"),
    ],
)
def test_what_is_not_fp8_is_refused(weight, scale, message):
    with pytest.raises(ValueError, match=f"^fp8 has .*{message}"):
        parts_of_fp8(weight, scale)


@pytest.mark.parametrize(
    ("blocks", "scales", "message"),
    [
        (ones((3, 2, 15), U8), ones((3, 2), U8), r"_blocks uint8\[3, 2, 15\], _scales uint8\[3, 2\]; accepted: uint8"),
        (ones((3, 3, 16), U8), ones((3, 3), U8), r"in / 32, 16\], in a multiple of 64"),
        (ones((3, 2, 16), U8), ones((3, 2), np.int32), r"_scales int32\[3, 2\]"),
        (ones((2, 16), U8), ones(2, U8), r"_scales uint8\[2\]"),
    ],
)
def test_what_is_not_mxfp4_is_refused(blocks, scales, message):
    with pytest.raises(ValueError, match=f"^mxfp4 has .*{message}"):
        parts_of_mxfp4(blocks, scales)
