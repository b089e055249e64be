"""Formats of weights: one from outside, and what belongs to a tensor beside it."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.checkpoint.folder_files import StoredTensor
from refmodel.checkpoint.formats import WEIGHT_FORMATS, WeightFormat
from tests.checkpoints import load
from tests.refmodel.checkpoint.written_folder import LLAMA, rewrite, write_folder


def test_a_weight_format_from_outside(tmp_path):
    """Eight bits and a scale for each row, stored beside; two numbers in a byte would be `per_item=2`."""
    config, params = write_folder(tmp_path, LLAMA)
    scaled = WeightFormat("I8", lambda stored, scale: stored * scale, beside=("_scale",))

    def quantise(tensors):
        name = "model.layers.1.mlp.up_proj.weight"
        scale = np.abs(tensors[name]).max(1, keepdims=True) / 127
        tensors[f"{name}_scale"], tensors[name] = scale, np.rint(tensors[name] / scale).astype(np.int8)

    rewrite(tmp_path, quantise)
    with pytest.raises(ValueError, match="is stored as I8; accepted: F32, F16, BF16, F64, F8_E4M3"):
        load(tmp_path, jnp.float32)
    with WEIGHT_FORMATS.temporarily(scaled):
        found_config, found = load(tmp_path, jnp.float32)
    assert found_config == config
    errors = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), found, params)
    assert 0 < errors["blocks"]["dense"]["ffn"].pop("up") < 0.5 * 4 / 127
    assert max(jax.tree.leaves(errors)) == 0


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (None, r"up_proj.weight_scale is missing, which model.layers.1.mlp.up_proj.weight is read with"),
        (np.ones(12, np.float32), r"up_proj.weight of I8\[13, 11\] its _scale may not be \[12\]"),
        (np.ones((3, 13, 11), np.float32), r"its _scale may not be \[3, 13, 11\]"),
    ],
)
def test_what_belongs_to_a_tensor_is_looked_at_before_the_first_is_read(tmp_path, monkeypatch, scale, message):
    write_folder(tmp_path, LLAMA)
    name = "model.layers.1.mlp.up_proj.weight"
    further = {name: np.ones((13, 11), np.int8)} | ({} if scale is None else {f"{name}_scale": scale})
    rewrite(tmp_path, lambda tensors: tensors.update(further))
    monkeypatch.setattr(StoredTensor, "array", lambda _: pytest.fail("weights are read"))
    scaled = WeightFormat("I8", lambda stored, scale: stored * scale, beside=("_scale",))
    with WEIGHT_FORMATS.temporarily(scaled), pytest.raises(ValueError, match=message):
        load(tmp_path, jnp.float32)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (
            lambda stored: stored[:2],
            r"F8_E5M2 makes \(2, 11\) of model.layers.1.mlp.up_proj.weight; accepted: \(13, 11\)",
        ),
        (
            lambda stored: np.reshape(stored, (7, 7)),
            r"model.layers.1.mlp.up_proj.weight cannot be read \(cannot reshape",
        ),
        (lambda stored: stored.astype(np.float32), ""),
    ],
)
def test_a_format_of_eight_bits_reads_and_a_wrong_one_is_named(tmp_path, decode, message):
    _, params = write_folder(tmp_path, LLAMA)
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(tmp_path, lambda tensors: tensors.update({name: tensors[name].astype(jnp.float8_e5m2)}))
    with WEIGHT_FORMATS.temporarily(WeightFormat("F8_E5M2", decode)):
        if message:
            with pytest.raises(ValueError, match=message):
                load(tmp_path, jnp.float32)
            return
        found = load(tmp_path, jnp.float32)[1]
    up, wanted = (tree["blocks"]["dense"]["ffn"]["up"][1] for tree in (found, params))
    np.testing.assert_array_equal(up, wanted.astype(jnp.float8_e5m2))


WIDE = LLAMA | {"hidden_size": 144, "intermediate_size": 263}  # more than one block of 128, and no multiple of it


def in_blocks(tensors, names):
    """Each matrix as 8-bit floats with a scale for each block of 128 x 128, and what they stand for in float64."""
    meant = {}
    for name in names:
        out, width = tensors[name].shape
        scale = np.random.default_rng(out).uniform(0.5, 2, (-(-out // 128), -(-width // 128))).astype(np.float32)
        every = np.array([[scale[i // 128, j // 128] for j in range(width)] for i in range(out)], np.float64)
        tensors[name] = (tensors[name] / every).astype(jnp.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale
        meant[name] = np.asarray(tensors[name]).astype(np.float64) * every
    return meant


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_eight_bits_with_a_scale_for_each_block(tmp_path, dtype):
    """As Qwen3-30B-A3B-FP8 has them: projections in blocks, norms, embedding and head as they were."""
    write_folder(tmp_path, WIDE)
    names = [f"model.layers.1.{part}.weight" for part in ("mlp.up_proj", "mlp.down_proj", "self_attn.q_proj")]
    meant = {}
    rewrite(tmp_path, lambda tensors: meant.update(in_blocks(tensors, names)))
    _, found = load(tmp_path, dtype)
    block = found["blocks"]["dense"]
    leaves = block["ffn"]["up"][1], block["ffn"]["down"][1], block["attn"]["q"][1]
    for name, leaf in zip(names, leaves, strict=True):
        wanted = meant[name].T.reshape(leaf.shape)
        np.testing.assert_allclose(
            np.asarray(leaf).astype(np.float64), wanted, rtol=1e-6 if dtype == jnp.float32 else 2**-8
        )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "up_proj.weight_scale_inv is missing, which model.layers.1.mlp.up_proj.weight is read with"),
        ((2, 2), r"up_proj.weight of F8_E4M3\[263, 144\] its _scale_inv may not be \[2, 2\]"),
        ((3,), r"its _scale_inv may not be \[3\]"),
        ((3, 2, "int32"), r"up_proj.weight_scale_inv is stored as I32; accepted: F32, F16, BF16"),
    ],
)
def test_a_scale_is_wanted_for_each_block(tmp_path, shape, message):
    write_folder(tmp_path, WIDE)
    name = "model.layers.1.mlp.up_proj.weight"
    further = {name: np.ones((263, 144), jnp.float8_e4m3fn)}
    *shape, dtype = shape if shape and isinstance(shape[-1], str) else (*(shape or ()), "float32")
    further |= {f"{name}_scale_inv": np.ones(shape, dtype)} if shape else {}
    rewrite(tmp_path, lambda tensors: tensors.update(further))
    with pytest.raises(ValueError, match=message):
        load(tmp_path, jnp.float32)


def test_a_matrix_that_is_stored_under_another_name(tmp_path):
    """As compressed-tensors stores packed ones; of the parts beside it the names begin with the matrix's."""
    config, params = write_folder(tmp_path, LLAMA)
    halves = WeightFormat(
        "I32",
        lambda stored, scale: stored * scale,
        beside=("weight_scale",),
        ending="weight",
        stored_as=".weight_packed",
    )

    def pack(tensors):
        stem = "model.layers.1.mlp.up_proj"
        numbers = tensors.pop(f"{stem}.weight")
        scale = np.abs(numbers).max(1, keepdims=True) / 2**20
        tensors[f"{stem}.weight_scale"] = scale
        tensors[f"{stem}.weight_packed"] = np.rint(numbers / scale).astype(np.int32)

    rewrite(tmp_path, pack)
    with pytest.raises(ValueError, match=r"up_proj\.weight"):
        load(tmp_path, jnp.float32)
    with WEIGHT_FORMATS.temporarily(halves):
        found_config, found = load(tmp_path, jnp.float32)
    assert found_config == config
    chex.assert_trees_all_close(found, params, atol=1e-5)


def test_what_a_name_ends_in_begins_with_its_dot():
    with pytest.raises(ValueError, match=r"from its dot on, such as '.qweight', got '_packed'"):
        WeightFormat("I8", stored_as="_packed")
