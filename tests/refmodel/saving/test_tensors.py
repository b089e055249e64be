"""Tensors of a folder: shards, their index, and parameters that share a tensor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

import refmodel
from refmodel.checkpoint.find import open_config
from refmodel.digest import params_digest
from refmodel.families import FAMILIES
from refmodel.saving.save import save
from refmodel.saving.tensors import tensors_of
from refmodel.tree import abstract_params, leaves_by_path


def golden(case):
    return refmodel.load(str(Path(__file__).parents[2] / "golden" / case))


def test_shards_and_their_index_hold_what_one_file_does(tmp_path):
    model = golden("moe")
    save(tmp_path / "one", model.config, model.params)
    save(tmp_path / "many", model.config, model.params, shard_bytes=20_000)
    assert params_digest(refmodel.load(str(tmp_path / "many")).params) == params_digest(model.params)
    index = json.loads((tmp_path / "many/model.safetensors.index.json").read_text())
    shards = sorted((tmp_path / "many").glob("*.safetensors"))
    assert [path.name for path in shards] == [
        f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)
    ]
    found, n_bytes = {}, []
    for path in shards:
        with safe_open(path, framework="numpy") as shard:
            assert shard.metadata() == {"format": "pt"}
            found |= dict.fromkeys(shard.keys(), path.name)
            n_bytes.append(sum(shard.get_tensor(name).nbytes for name in shard.keys()))  # noqa: SIM118
    assert found == index["weight_map"]
    assert max(n_bytes) <= 20_000 < 2 * min(n_bytes[:-1])  # of tensors that are small beside a shard
    assert sum(n_bytes) == sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    assert index["metadata"] == {"total_size": sum(n_bytes)} and not (tmp_path / "many/model.safetensors").exists()
    assert len({path.stat().st_mode for path in (tmp_path / "many").iterdir()}) == 1
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["config.json", "model.safetensors"]


def test_a_tensor_larger_than_a_shard_has_one_of_its_own(tmp_path):
    model = golden("dense-tied")
    save(tmp_path / "m", model.config, model.params, shard_bytes=1)
    tensors = tensors_of(model.config, model.params, FAMILIES["qwen3"])
    assert len(list((tmp_path / "m").glob("*.safetensors"))) == len(tensors)
    assert params_digest(refmodel.load(str(tmp_path / "m")).params) == params_digest(model.params)


def test_tensors_come_in_the_order_of_layers():
    config = open_config("tiny-moe")
    names = list(tensors_of(config, abstract_params(config), FAMILIES["qwen3_moe"]))
    experts = [name for name in names if ".layers.1.mlp.experts." in name and name.endswith("up_proj.weight")]
    assert [int(name.split(".")[5]) for name in experts] == list(range(11))
    layers = [int(name.split(".")[2]) for name in names if ".layers." in name]
    assert layers == sorted(layers)


def test_parameters_of_several_types_share_no_tensor():
    model = golden("qwen3-5-moe")
    attn = model.params["blocks"]["delta_moe"]["attn"]
    attn["k"] = attn["k"].astype(jnp.bfloat16)
    with pytest.raises(ValueError, match=r"in_proj_qkv.weight holds parameters of several types: bfloat16, float32$"):
        tensors_of(model.config, model.params, FAMILIES["qwen3_5_moe_text"])


def test_a_leaf_that_no_file_would_hold_is_named():
    model = golden("dense-tied")
    blocks = {
        stack: {**block, "attn": {**block["attn"], "q_lora": 1.5}} for stack, block in model.params["blocks"].items()
    }
    for more, path in (({"head": np.zeros((23, 53))}, "head"), ({"blocks": blocks}, "blocks.dense.attn.q_lora")):
        with pytest.raises(
            ValueError, match=rf"^{path} is no parameter of dense-tied, and no file would hold it; leave"
        ):
            tensors_of(model.config, model.params | more, FAMILIES["qwen3"])


@pytest.mark.parametrize(("layout", "name"), [("routed(3|full)", "span_router_"), ("msa(3,dim=6)", "index_")])
def test_routers_and_indexes_of_another_layout_are_left_out(layout, name):
    """`Model.with_layout` leaves them in the tree."""
    config, family = open_config("tiny-dense"), FAMILIES["qwen3"]
    own, routed = abstract_params(config), abstract_params(config.with_layout(layout))
    assert any(name in path for path in leaves_by_path(routed))
    assert tensors_of(config, routed, family) == tensors_of(config, own, family)


def test_a_leaf_of_whole_numbers_is_no_parameter():
    model = golden("dense-tied")
    norm = {"scale": np.ones(model.params["final_norm"]["scale"].shape, np.int32)}
    with pytest.raises(ValueError, match=r"^final_norm.scale must be of floats, got int32$"):
        tensors_of(model.config, model.params | {"final_norm": norm}, FAMILIES["qwen3"])


def test_a_leaf_of_another_shape_is_named():
    model = golden("dense-tied")
    params = model.params | {"embed": {"embedding": np.zeros((51, 23), np.float32)}}
    with pytest.raises(
        ValueError, match=r"^embed.embedding is of shape \(51, 23\); mine needs one of shape \(53, 23\)$"
    ):
        tensors_of(replace(model.config, name="mine"), params, FAMILIES["qwen3"])
