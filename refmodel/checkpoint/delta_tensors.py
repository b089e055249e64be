"""How checkpoints store a Gated DeltaNet layer, where that is not the parameter itself.

Qwen3-Next   one tensor for q, k, v, z and one for b, a, both a key head's rows after the other's
GGUF         Qwen3.5's value heads tiled: M = N·G heads in the order g·N + n, where the model has n·G + g
safetensors  A_log instead of decays; the convolution as [C, 1, taps]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from attention.gated_delta import GatedDelta
from refmodel.checkpoint.placement import Placement
from refmodel.parameters import Parameter
from refmodel.share import Share
from refmodel.specification import ModelConfig

_TOGETHER: Final[Mapping[str, str]] = MappingProxyType({
    "in_proj_qkv": "in_proj_qkvz", "in_proj_z": "in_proj_qkvz", "in_proj_a": "in_proj_ba", "in_proj_b": "in_proj_ba",
    "attn_qkv": "ssm_in", "attn_gate": "ssm_in", "ssm_alpha": "ssm_ba", "ssm_beta": "ssm_ba",
})  # fmt: skip


def of_delta(config: ModelConfig, one: Placement) -> GatedDelta | None:
    """The mixer of the layers that a placement is for, where it is `delta`."""
    stacks = {layer.stack_name: layer.mixer for layer in config.layers}
    mixer = stacks.get(one.leaf.split(".")[1]) if one.leaf.startswith("blocks.") else None
    return mixer if isinstance(mixer, GatedDelta) else None


def together(one: Placement, delta: GatedDelta, found: Collection[str]) -> Placement:
    """The placement out of a tensor that holds several projections, where that is what was found."""
    *ahead, own, ending = one.name.split(".")
    name = ".".join((*ahead, _TOGETHER.get(own, own), ending))
    if own not in _TOGETHER or name not in found:
        return one
    share = _of_key_heads(one.row, delta)
    return dataclasses.replace(one, name=name, shape=share.whole(one.row.stored_shape), pick=share.of, put=share.put)


def _of_key_heads(row: Parameter, delta: GatedDelta) -> Share:
    group, keys = delta.value_heads // delta.key_heads, delta.key_dim
    values = group * delta.value_dim
    edges = {
        "attn.q": (0, keys), "attn.k": (keys, 2 * keys), "attn.v": (2 * keys, 2 * keys + values),
        "attn.z": (2 * keys + values, 2 * keys + 2 * values), "attn.b": (0, group), "attn.a": (group, 2 * group),
    }  # fmt: skip
    size = 2 * group if row.path in ("attn.a", "attn.b") else 2 * keys + 2 * values
    return Share(delta.key_heads, size, *edges[row.path])


def from_safetensors(one: Placement) -> Placement:
    """Decays out of A_log, and the convolution without its middle axis."""
    if one.row.path == "attn.decay":
        return dataclasses.replace(one, pick=_decays, put=_put_logarithms, written_as=np.float64)
    if one.row.path == "attn.conv":
        channels, taps = one.shape
        return dataclasses.replace(one, shape=(channels, 1, taps), pick=lambda stored: stored[:, 0])
    return one


def _decays(stored: np.ndarray) -> np.ndarray:
    return -np.exp(stored.astype(np.promote_types(stored.dtype, np.float32)))


def _put_logarithms(stored: np.ndarray, decays: np.ndarray) -> None:
    """In float64: no float32 has every float32 for its exponential, and decays are read back as they were.

    Raises `ValueError` for a decay above 0, which has no logarithm.
    """
    if (decays > 0).any():
        raise ValueError("a decay above 0 cannot be written as A_log, its logarithm: -exp(A_log) is below 0")
    with np.errstate(divide="ignore"):  # -exp(-inf) is 0
        stored[...] = np.log(-decays.astype(np.float64))


def untiled(one: Placement, delta: GatedDelta) -> Placement:
    """With the value heads of a GGUF file back in the model's order."""
    n, m, before = delta.key_heads, delta.value_heads, one.pick

    def back(rows: np.ndarray) -> np.ndarray:
        return rows.reshape(m // n, n, -1).swapaxes(0, 1).reshape(rows.shape)

    def channels(stored: np.ndarray) -> np.ndarray:
        keys = 2 * n * delta.key_dim
        return np.concatenate([stored[:keys], back(stored[keys:])])

    picks = {
        **dict.fromkeys(("attn.v", "attn.z", "attn.a", "attn.b", "attn.decay", "attn.dt_bias"), back),
        "attn.conv": channels, "attn.o": lambda stored: back(np.ascontiguousarray(stored.T)).T,
    }  # fmt: skip
    pick = picks.get(one.row.path)
    if pick is None:
        return one
    picks_rows = one.row.path != "attn.o"
    return dataclasses.replace(one, pick=lambda stored: pick(before(stored)), picks_rows=picks_rows)
