"""Folders of AWQ and of GPTQ: what they hold becomes the tree that their published unpacking says."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.checkpoint import open_checkpoint
from refmodel.checkpoint.formats import WEIGHT_FORMATS
from tests.checkpoints import load
from tests.refmodel.checkpoint.written_folder import LLAMA, rewrite, write_folder
from tests.refmodel.packed.test_folder_parts import awq_tensors, from_awq, from_gptq, gptq_tensors

FIELDS = LLAMA | {"hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4, "head_dim": 16}
UP = "model.layers.1.mlp.up_proj"
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16}


def quantised(folder, told, tensors):
    """A folder whose one matrix is packed, the others as they were, and its tree before."""
    _, params = write_folder(folder, FIELDS)
    (folder / "config.json").write_text(json.dumps(FIELDS | {"quantization_config": told}))

    def change(stored):
        del stored[f"{UP}.weight"]
        stored.update({f"{UP}.{name}": tensor for name, tensor in tensors.items()})

    rewrite(folder, change)
    return params


def awq():
    return dict(zip(("qweight", "qzeros", "scales"), awq_tensors(0, 16, 64, 192), strict=True))


def gptq():
    return dict(zip(("qweight", "qzeros", "scales", "g_idx"), gptq_tensors(0, 16, 64, 192), strict=True))


@pytest.mark.parametrize(
    ("told", "tensors", "wanted"),
    [
        (AWQ, awq(), from_awq(*awq().values())),
        (GPTQ, gptq(), from_gptq(*gptq().values(), 1)),
        (GPTQ | {"checkpoint_format": "gptq"}, gptq(), from_gptq(*gptq().values(), 1)),
        (GPTQ | {"checkpoint_format": "gptq_v2"}, gptq(), from_gptq(*gptq().values(), 2)),
    ],
)
def test_a_packed_matrix_is_read(tmp_path, told, tensors, wanted):
    params = quantised(tmp_path, told, tensors)
    _, found = load(tmp_path, jnp.float32)
    np.testing.assert_array_equal(found["blocks"]["dense"]["ffn"]["up"][1], wanted.T)
    differ = jax.tree.map(lambda x, y: bool((x != y).any()), found, params)
    assert differ["blocks"]["dense"]["ffn"].pop("up") and not any(jax.tree.leaves(differ))


@pytest.mark.parametrize(
    ("told", "tensors", "message"),
    [
        ({}, awq(), r"up_proj.qzeros is stored as I32; accepted: F32, F16, .*, I32 awq, I32 gptq, I32 gptq_v2"),
        ("awq", awq(), r"up_proj.qzeros is stored as I32; accepted: F32"),
        ({"quant_method": "bitsandbytes"}, awq(), r"up_proj.qzeros is stored as I32; accepted: F32"),
        (GPTQ, awq(), r"up_proj.g_idx is missing, which .*up_proj.weight is read with"),
        (AWQ, {name: tensor for name, tensor in gptq().items() if name != "g_idx"},
         r"beside .*up_proj.weight of I32 awq\[8, 192\] its qzeros, scales may not be \[4, 24\], \[4, 192\]"),
        (AWQ, awq() | {"qzeros": awq()["qzeros"].view(np.float32)}, "qzeros is stored as F32; accepted: I32"),
        (AWQ, awq() | {"scales": awq()["scales"].astype(np.int32)}, "scales is stored as I32; accepted: F32, F16"),
        (GPTQ, gptq() | {"g_idx": gptq()["g_idx"].astype(np.float32)}, "g_idx is stored as F32; accepted: I32"),
        (AWQ, awq() | {"qzeros": awq()["qzeros"][:-1]}, r"its qzeros, scales may not be \[3, 24\], \[4, 192\]"),
        (AWQ, awq() | {"scales": awq()["scales"][:-1]}, r"its qzeros, scales may not be \[4, 24\], \[3, 192\]"),
        (AWQ, awq() | {"scales": awq()["scales"][:3], "qzeros": awq()["qzeros"][:3]},
         r"its qzeros, scales may not be \[3, 24\], \[3, 192\]"),
        (AWQ, awq() | {"scales": awq()["scales"][:0]}, r"its qzeros, scales may not be \[4, 24\], \[0, 192\]"),
        (AWQ, awq() | {"qweight": awq()["qweight"][0]}, r"of I32 awq\[24\] its qzeros, scales may not be"),
        (GPTQ, gptq() | {"g_idx": gptq()["g_idx"][1:]}, r"its qzeros, scales, g_idx may not be .*, \[63\]"),
        (GPTQ, gptq() | {"g_idx": gptq()["g_idx"][::-1].copy()}, r"cannot be read \(gptq with act-order"),
        (AWQ, dict(zip(awq(), awq_tensors(0, 8, 64, 192), strict=True)),
         r"up_proj.weight cannot be read \(awq has .*groups of a multiple of 16"),
    ],
)  # fmt: skip
def test_what_is_not_so_is_named(tmp_path, told, tensors, message):
    quantised(tmp_path, told, tensors)
    with pytest.raises(ValueError, match=message) as caught:
        open_checkpoint(tmp_path).params(jnp.float32)
    assert "\n" not in str(caught.value)


def test_what_can_stay_packed_says_in_which_coding():
    shapes = {
        ("F8_E4M3", (263, 256), (3, 2)): "fp8_blocks", ("F8_E4M3", (263, 144), (3, 2)): None,
        ("U8", (3, 5, 64), (3, 5, 2)): "mxfp4", ("U8", (3, 5, 96), (3, 5, 3)): None,
        ("I32 awq", (24, 192), (3, 3), (3, 24)): "uint4(64)", ("I32 awq", (24, 192), (24, 3), (24, 24)): None,
        ("I32 gptq", (24, 96), (3, 3), (3, 24), (96,)): None, ("BF16", (5, 64)): None,
    }  # fmt: skip
    for (name, *parts), wanted in shapes.items():
        coding = WEIGHT_FORMATS[name].keeps(*parts)
        assert (coding and coding.name) == wanted


@pytest.mark.parametrize("name", ["F8_E4M3", "U8", "I32 awq", "I32 gptq", "I32 gptq_v2"])
def test_the_arrays_that_stay_packed_are_what_is_read_expanded(name):
    rng, one = np.random.default_rng(0), WEIGHT_FORMATS[name]
    stored = {
        "F8_E4M3": (rng.normal(size=(130, 128)).astype(jnp.float8_e4m3fn), np.float32([[0.5], [3]])),
        "U8": (rng.integers(0, 256, (2, 3, 4, 16), np.uint8), rng.integers(99, 140, (2, 3, 4), np.uint8)),
        "I32 awq": awq_tensors(), "I32 gptq": gptq_tensors(), "I32 gptq_v2": gptq_tensors(),
    }[name]  # fmt: skip
    coding, parts = one.parts(*stored)
    wanted = one.decode(*stored)
    assert coding == one.keeps(one.shape(stored[0].shape), *(tensor.shape for tensor in stored[1:]))
    np.testing.assert_array_equal(coding.decode(parts, *wanted.shape[-2:]), wanted.astype(np.float32))
