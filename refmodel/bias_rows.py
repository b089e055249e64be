"""Rows of the table of parameters that are added and multiply no matrix: biases of products, and logits of sinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attention.cost import Heads
from refmodel.parameters import Parameter, Table
from refmodel.parts import Dense, Experts, FeedForward

_LAYER: Final = ("model.layers.{layer}.", "blk.{layer}.")
_FUSED: Final[Mapping[str, str]] = {
    "gate": "mlp.experts.gate_up_proj_bias", "up": "mlp.experts.gate_up_proj_bias",
    "down": "mlp.experts.down_proj_bias",
}  # fmt: skip
"""Folders hold those of experts in one tensor a layer, gate and up together (`refmodel.checkpoint.fused_experts`)."""


def attention_bias_rows(heads: Heads, which: str) -> Table:
    """Biases of the projections named in `which`, a part of "qkvo"."""
    d, n, k, h = heads.d_model, heads.n_heads, heads.n_kv_heads, heads.head_dim
    sides = {"q": (("heads", "head_dim"), (n, h)), "o": (("embed",), (d,))}
    sides |= dict.fromkeys("kv", (("kv_heads", "head_dim"), (k, h)))
    gguf = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    return tuple(
        _added(f"attn.{name}_bias", *sides[name], f"self_attn.{name}_proj.bias", f"{gguf[name]}.bias")
        for name in "qkvo" if name in which
    )  # fmt: skip


def sink_rows(heads: Heads) -> Table:
    """A logit of each query head."""
    return (_added("attn.sinks", ("heads",), (heads.n_heads,), "self_attn.sinks", "attn_sinks.weight"),)


def feed_forward_bias_rows(d_model: int, feed_forward: FeedForward) -> Table:
    """Of the three products, of each expert where there are some, and of their router; none without `bias`."""
    if not feed_forward.bias:
        return ()
    match feed_forward:
        case Dense(d_ff):
            return tuple(
                _added(f"ffn.{name}_bias", (axis,), (size,), f"mlp.{name}_proj.bias", f"ffn_{name}.bias")
                for name, axis, size in _outputs(d_model, d_ff)
            )
        case Experts(n_experts, _, d_expert):
            router = _added("ffn.router_bias", ("experts",), (n_experts,), "mlp.router.bias", "ffn_gate_inp.bias")
            each = (
                _added(f"ffn.{name}_bias", ("experts", axis), (n_experts, size), _FUSED[name], f"ffn_{name}_exps.bias")
                for name, axis, size in _outputs(d_model, d_expert)
            )  # fmt: skip
            return (router, *each)


def _outputs(d_model: int, width: int) -> tuple[tuple[str, str, int], ...]:
    return ("gate", "mlp", width), ("up", "mlp", width), ("down", "embed", d_model)


def _added(path: str, axes: tuple[str, ...], shape: tuple[int, ...], hf: str, gguf: str) -> Parameter:
    in_hf, in_gguf = _LAYER
    return Parameter(path, axes, shape, hf=in_hf + hf, gguf=in_gguf + gguf, initial=0.0)
