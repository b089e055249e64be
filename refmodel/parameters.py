"""The one table of a model's parameters, a row for each: name, shape, axes, what it sums over, stored names, costs.

The Linen modules, the abstract tree, the initialiser, both loaders, parameter counts, FLOPs and bytes read it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attention.cost import Heads
from refmodel.parts import Dense, Experts, FeedForward, Norm
from refmodel.share import Share

Table = tuple["Parameter", ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a layer, or of what is outside the layers.

    Attributes:
        path: in the parameter tree, of one layer: "attn.q".
        axes: the logical axis of each dimension: "embed", "heads", "kv_heads", "head_dim", "mlp", "experts", "vocab".
        sums: the axes that its product sums over, whose sizes multiply to the fan-in; none for a vector.
        component: under what name its products are counted (`eval.cost.flops`); empty where it multiplies no matrix.
        rows_per_token: rows that a token becomes (experts per token), 1 for a plain projection.
        copies: how many such matrices are stored, along the first axis (experts); 0 for what multiplies and is not
            stored (a recurrent state).
        hf, gguf: what safetensors and GGUF files call it, `{layer}` and `{expert}` left open; empty where they lack it.
        initial: what a random model fills a vector with.
        gguf_adds: what a GGUF file adds to it.
        of_mixer: whether the layer's mixer declares it, so that layers of one stack may lack it.
        share: what of the stored tensor it is; None for all of it.
    """

    path: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    sums: tuple[str, ...] = ()
    component: str = ""
    rows_per_token: int = 1
    copies: int = 1
    hf: str = ""
    gguf: str = ""
    initial: float = 1.0
    gguf_adds: float = 0.0
    of_mixer: bool = False
    share: Share | None = None

    @property
    def fan_in(self) -> int:
        """Terms in each sum of the product."""
        return math.prod(size for axis, size in zip(self.axes, self.shape, strict=True) if axis in self.sums)

    @property
    def size(self) -> int:
        """Numbers that are stored."""
        return math.prod(self.shape) if self.copies else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one row, which is the size of one copy; 2 FLOPs each."""
        return math.prod(self.shape) // max(self.copies, 1)

    @property
    def one_copy(self) -> Parameter:
        """The row of one of the copies alone."""
        return dataclasses.replace(self, axes=self.axes[1:], shape=self.shape[1:], copies=1)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """As checkpoints hold it: a matrix as [out, in], heads in one axis; experts in one tensor as [E, out, in]."""
        copies = self.shape[:1] if self.axes[0] == "experts" else ()
        if not self.sums:
            rest = self.shape[len(copies) :]
            return (*copies, math.prod(rest)) if rest else copies
        return (*copies, self.macs // self.fan_in, self.fan_in)

    @property
    def is_transposed(self) -> bool:
        """Whether its own axes are [in, out], behind the experts, where checkpoints hold [out, in]."""
        copies = 1 if self.axes[0] == "experts" else 0
        return bool(self.sums) and self.axes[copies : copies + len(self.sums)] == self.sums

    def stored_as(self, path: str, share: Share) -> Parameter:
        """The row of another path that is such a share of the same stored tensor."""
        return dataclasses.replace(self, path=path, share=share)

    def from_stored(self, stored: np.ndarray) -> np.ndarray:
        """A view of a stored tensor with the row's own axes."""
        if not self.sums:
            return stored.reshape(self.shape)
        sizes, order = dict(zip(self.axes, self.shape, strict=True)), self._stored_order
        return stored.reshape([sizes[axis] for axis in order]).transpose([order.index(axis) for axis in self.axes])

    def to_stored(self, own: np.ndarray) -> np.ndarray:
        """The other way: the row's numbers as checkpoints hold them."""
        order = [self.axes.index(axis) for axis in self._stored_order] if self.sums else range(own.ndim)
        return own.transpose(order).reshape(self.stored_shape)

    @property
    def _stored_order(self) -> list[str]:
        """The axes as checkpoints have them: experts first, and those that the product sums over last."""
        copies = [axis for axis in self.axes[:1] if axis == "experts"]
        return [*copies, *(axis for axis in self.axes if axis not in (*copies, *self.sums)), *self.sums]

    @property
    def macs_per_token(self) -> int:
        return self.macs * self.rows_per_token


def norm_rows(norm: Norm, d_model: int) -> Table:
    """Before attention and the feed-forward; Gemma's two after them take the name that others give the second."""
    if not norm.after:
        names = {"attn_norm": ("input", "attn_norm"), "ffn_norm": ("post_attention", "ffn_norm")}
    else:
        names = {
            "attn_norm": ("input", "attn_norm"),
            "attn_post_norm": ("post_attention", "post_attention_norm"),
            "ffn_norm": ("pre_feedforward", "ffn_norm"),
            "ffn_post_norm": ("post_feedforward", "post_ffw_norm"),
        }
    return tuple(
        norm_row(path, norm, "embed", d_model, f"model.layers.{{layer}}.{hf}_layernorm", f"blk.{{layer}}.{gguf}.weight")
        for path, (hf, gguf) in names.items()
    )


def attention_rows(heads: Heads, value_is_key: bool = False) -> Table:
    """Projections of queries, keys, values and outputs: D·H·(2N + 2K) in all; D·H·(2N + K) where values have none."""
    d, n, k, h = heads.d_model, heads.n_heads, heads.n_kv_heads, heads.head_dim
    named = [("q", "heads", n, "q"), ("k", "kv_heads", k, "k"), ("v", "kv_heads", k, "v")]
    into = [
        layer_matrix(f"attn.{name}", ("embed", axis, "head_dim"), (d, count, h), ("embed",), "attention_projections",
                      f"self_attn.{name}_proj", f"attn_{gguf}")
        for name, axis, count, gguf in named[: 2 if value_is_key else 3]
    ]  # fmt: skip
    out = layer_matrix(
        "attn.o", ("heads", "head_dim", "embed"), (n, h, d), ("heads", "head_dim"), "attention_projections",
        "self_attn.o_proj", "attn_output",
    )  # fmt: skip
    return (*into, out)


def qk_norm_rows(norm: Norm, heads: Heads) -> Table:
    """Norms over the head dimension of queries and of keys."""
    return tuple(
        norm_row(f"attn.{name}", norm, "head_dim", heads.head_dim, f"model.layers.{{layer}}.self_attn.{name}",
              f"blk.{{layer}}.attn_{name}.weight")
        for name in ("q_norm", "k_norm")
    )  # fmt: skip


def mixer_rows(declared: Mapping[str, tuple[int, ...]]) -> Table:
    """What a mixer has of its own (routers of spans): only folders that were saved here hold it.

    It sums over its last axis but one; of vectors those that are called a bias start from 0.
    """
    rows = []
    for name, shape in declared.items():
        axes = tuple(f"{name}_{i}" for i in range(len(shape)))
        hf = f"prefillwall.layers.{{layer}}.attn.{name}"
        rows.append(
            Parameter(
                f"attn.{name}",
                axes,
                shape,
                axes[-2:-1],
                "selection",
                hf=hf,
                of_mixer=True,
                initial=0.0 if "_bias_" in name else 1.0,
            )
        )
    return tuple(rows)


def dense_rows(d_model: int, dense: Dense) -> Table:
    """A gated feed-forward."""
    return tuple(
        layer_matrix(f"ffn.{name}", axes, shape, axes[:1], "feed_forward", f"mlp.{name}_proj", f"ffn_{name}")
        for name, axes, shape in _gated(d_model, dense.d_ff)
    )


def expert_rows(d_model: int, experts: Experts) -> Table:
    """A router and the experts."""
    e, used = experts.n_experts, experts.experts_per_token
    in_mlp, router_hf = ("", "router.proj") if experts.beside else ("mlp.", "mlp.gate")
    router = layer_matrix(
        "ffn.router", ("embed", "experts"), (d_model, e), ("embed",), "router", router_hf, "ffn_gate_inp"
    )
    return (
        router,
        *(
            layer_matrix(
                f"ffn.{name}", ("experts", *axes), (e, *shape), axes[:1], "experts",
                f"{in_mlp}experts.{{expert}}.{name}_proj", f"ffn_{name}_exps", used, e,
            )
            for name, axes, shape in _gated(d_model, experts.d_expert)
        ),
    )  # fmt: skip


def feed_forward_rows(d_model: int, feed_forward: FeedForward) -> Table:
    """Of either kind; biases apart (`refmodel.bias_rows`)."""
    if isinstance(feed_forward, Dense):
        return dense_rows(d_model, feed_forward)
    return expert_rows(d_model, feed_forward)


def vectors(path: str, count: int) -> Parameter:
    """So many stored numbers that multiply no matrix."""
    return Parameter(path, ("vector",), (count,))


def _gated(d: int, f: int) -> list[tuple[str, tuple[str, str], tuple[int, int]]]:
    into, out = (("embed", "mlp"), (d, f)), (("mlp", "embed"), (f, d))
    return [("gate", *into), ("up", *into), ("down", *out)]


def layer_matrix(
    path: str, axes: tuple[str, ...], shape: tuple[int, ...], sums: tuple[str, ...], component: str, hf: str, gguf: str,
    rows_per_token: int = 1, copies: int = 1, share: Share | None = None,
) -> Parameter:  # fmt: skip
    """A layer's matrix, whose stored names are told without what all have in common."""
    return Parameter(
        path, axes, shape, sums, component, rows_per_token, copies,
        hf=f"model.layers.{{layer}}.{hf}.weight", gguf=f"blk.{{layer}}.{gguf}.weight", share=share,
    )  # fmt: skip


def norm_row(path: str, norm: Norm, axis: str, size: int, hf: str, gguf: str) -> Parameter:
    """The scale of a norm."""
    return Parameter(
        f"{path}.scale", (axis,), (size,), hf=f"{hf}.weight", gguf=gguf, initial=1 - norm.offset, gguf_adds=norm.offset
    )
