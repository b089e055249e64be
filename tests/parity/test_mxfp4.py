"""MXFP4 as transformers expands it: every byte under every scale, and a whole folder."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from refmodel.checkpoint.formats import WEIGHT_FORMATS
from tests.checkpoints import load
from tests.refmodel.checkpoint.test_gpt_oss_files import packed_folder

ALL_BYTES = np.arange(256, dtype=np.uint8)


def test_every_byte_under_every_scale_bit_for_bit():
    """A row of all bytes for each scale: from 2^-127, of subnormal numbers, to 2^128, of which some are infinite."""
    blocks = np.broadcast_to(ALL_BYTES.reshape(1, 1, 16, 16), (1, 256, 16, 16)).copy()
    scales = np.broadcast_to(ALL_BYTES[None, :, None], (1, 256, 16)).copy()
    theirs = convert_moe_packed_tensors(torch.from_numpy(blocks), torch.from_numpy(scales)).transpose(1, 2)
    ours = WEIGHT_FORMATS["U8"].decode(blocks, scales)
    assert ours.shape == tuple(theirs.shape) == (1, 256, 512)
    np.testing.assert_array_equal(ours.view(np.uint16), theirs.contiguous().view(torch.uint16).numpy())


def test_a_folder_is_what_transformers_reads(tmp_path):
    folder = packed_folder(tmp_path / "packed")
    _, params = load(folder, jnp.bfloat16)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).model.layers
    ffn = params["blocks"]["moe"]["ffn"]
    for layer, module in enumerate(theirs):
        experts = module.mlp.experts
        for name, turn in (("gate", 0), ("up", 1)):
            wanted = experts.gate_up_proj[..., turn::2].float().detach().numpy()
            np.testing.assert_array_equal(ffn[name][layer].astype(np.float32), wanted)
        np.testing.assert_array_equal(ffn["down"][layer].astype(np.float32), experts.down_proj.float().detach().numpy())
