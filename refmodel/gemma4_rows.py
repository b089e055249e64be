"""Rows of the table for Gemma 4's parts: a dense feed-forward beside experts, the scale of what a layer puts out."""

from __future__ import annotations

import dataclasses

from refmodel.parameters import Parameter, Table, dense_rows, norm_row
from refmodel.parts import Experts, FeedForward, Norm

_LAYER = ("model.layers.{layer}.", "blk.{layer}.")
_NORMS = {
    "ffn.dense_post_norm": ("post_feedforward_layernorm_1", "post_ffw_norm_1"),
    "ffn.experts_norm": ("pre_feedforward_layernorm_2", "pre_ffw_norm_2"),
    "ffn.experts_post_norm": ("post_feedforward_layernorm_2", "post_ffw_norm_2"),
}


def beside_rows(d_model: int, feed_forward: FeedForward, norm: Norm) -> Table:
    """What a dense feed-forward beside experts adds to theirs: `ffn.dense.{gate,up,down}`, three norms, scales of what
    the router reads and of each expert's weight."""
    if not isinstance(feed_forward, Experts) or not feed_forward.beside:
        return ()
    in_hf, in_gguf = _LAYER
    dense = (
        dataclasses.replace(row, path=row.path.replace("ffn.", "ffn.dense."))
        for row in dense_rows(d_model, feed_forward.beside)
    )
    norms = (
        norm_row(path, norm, "embed", d_model, in_hf + hf, f"{in_gguf}{gguf}.weight")
        for path, (hf, gguf) in _NORMS.items()
    )
    return (
        *dense,
        *norms,
        _scale("router_scale", "embed", d_model, "router.scale", "ffn_gate_inp.scale"),
        _scale("expert_scale", "experts", feed_forward.n_experts, "router.per_expert_scale", "ffn_down_exps.scale"),
    )


def out_scale_row() -> Parameter:
    """The number that what a layer puts out is multiplied with."""
    in_hf, in_gguf = _LAYER
    return Parameter("out.scale", ("one",), (1,), hf=f"{in_hf}layer_scalar", gguf=f"{in_gguf}layer_output_scale.weight")


def _scale(name: str, axis: str, size: int, hf: str, gguf: str) -> Parameter:
    in_hf, in_gguf = _LAYER
    return Parameter(f"ffn.{name}", (axis,), (size,), hf=in_hf + hf, gguf=in_gguf + gguf)
