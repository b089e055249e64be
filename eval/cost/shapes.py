"""What a model multiplies, layer by layer: all that the cost arithmetic reads of a model.

A `ModelConfig` gives such a shape; models that this project does not run (hybrids, Gemma, gpt-oss) have theirs in
`eval.cost.preset_shapes`.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attention.cost import Heads
from attention.layout import Layout, format_layout, parse_layout
from attention.variant import Variant
from refmodel.config import ModelConfig


@dataclass(frozen=True)
class Product:
    """Matrix products of one component: a row costs 2 * `macs` FLOPs.

    Attributes:
        component: what tables call it.
        macs: multiply-accumulates per row, which is the size of the matrices that a row meets.
        rows_per_token: rows that a token becomes (experts per token), 1 for a plain projection.
        copies: how many such matrices are stored (experts); 0 for a recurrent state, which holds no weights.
    """

    component: str
    macs: int
    rows_per_token: int = 1
    copies: int = 1

    @property
    def macs_per_token(self) -> int:
        return self.macs * self.rows_per_token


@dataclass(frozen=True)
class LayerShape:
    """One layer: its products, and its attention if it has one.

    Attributes:
        variant: who sees whom; None for a layer without softmax attention.
        kv_values: values that a token leaves in the cache, 2·K·H unless keys serve as values.
        vector_params: stored parameters that multiply nothing: norm scales, biases.
        d_model: D, which the routers of some variants read.
    """

    variant: Variant | None
    n_heads: int
    n_kv_heads: int
    head_dim: int
    products: tuple[Product, ...]
    kv_values: int
    vector_params: int = 0
    d_model: int = 0

    @property
    def heads(self) -> Heads:
        """What its variant needs to know."""
        return Heads(self.n_heads, self.n_kv_heads, self.head_dim, self.d_model)

    @property
    def variant_params(self) -> int:
        """Parameters that the variant has of its own: routers of spans."""
        return sum(math.prod(shape) for shape in self.variant.params(self.heads).values()) if self.variant else 0

    @property
    def params(self) -> int:
        """All that are stored."""
        of_products = sum(product.macs * product.copies for product in self.products)
        return of_products + self.variant_params + self.vector_params


@dataclass(frozen=True)
class ModelShape:
    """A model's layers, its embedding and its head.

    Attributes:
        headline_params: active parameters as its makers round them ("A3B" is 3.3e9), None where there is no such word.
        note: what the shape leaves out or assumes.
    """

    name: str
    layers: tuple[LayerShape, ...]
    d_model: int
    vocab_size: int
    tied_head: bool = False
    headline_params: int | None = None
    note: str = ""

    @property
    def head_macs(self) -> int:
        """D · V, for one token."""
        return self.d_model * self.vocab_size

    @property
    def linear_macs(self) -> int:
        """Multiply-accumulates of one token in all layers: the parameters that it meets there."""
        return sum(product.macs_per_token for layer in self.layers for product in layer.products)

    @property
    def distinct_layers(self) -> Mapping[LayerShape, int]:
        """How often each layer occurs."""
        return Counter(self.layers)

    @property
    def layer_params(self) -> int:
        """Stored parameters of all layers."""
        return sum(layer.params for layer in self.layers)

    @property
    def params(self) -> int:
        """All stored parameters: layers, embedding, final norm, and a head of its own."""
        return self.layer_params + self.head_macs * (1 if self.tied_head else 2) + self.d_model

    @property
    def layout(self) -> Layout:
        """The variants of the layers that attend."""
        return tuple(layer.variant for layer in self.layers if layer.variant)

    @property
    def layout_name(self) -> str:
        return format_layout(self.layout) if self.layout else "none"

    @property
    def layout_summary(self) -> str:
        """The layout, or how often each variant occurs where that is shorter or some layers do not attend."""
        counts = Counter(map(str, self.layout))
        counts["no attention"] += len(self.layers) - len(self.layout)
        summary = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
        return min(self.layout_name, summary, key=len) if len(self.layout) == len(self.layers) else summary

    def with_layout(self, spec: str | Sequence[str | Variant]) -> ModelShape:
        """The same model with other attention in the layers that attend."""
        variants = iter(parse_layout(spec, len(self.layout)))
        layers = tuple(
            dataclasses.replace(layer, variant=next(variants)) if layer.variant else layer for layer in self.layers
        )
        for layer in dict.fromkeys(layers):
            if layer.variant:
                layer.variant.check(layer.heads)
        return dataclasses.replace(self, layers=layers)

    def at_length(self, total_tokens: int) -> ModelShape:
        """The same model for sequences of up to `total_tokens`, each layer's variant as it is there."""
        layers = tuple(
            dataclasses.replace(layer, variant=layer.variant.at_length(total_tokens).at_layer(i, len(self.layers)))
            if layer.variant
            else layer
            for i, layer in enumerate(self.layers)
        )
        return self if layers == self.layers else dataclasses.replace(self, layers=layers)


def shape_of(model: ModelConfig | ModelShape) -> ModelShape:
    """The cost shape of a model that this project runs (a shape passes through)."""
    if isinstance(model, ModelShape):
        return model
    return ModelShape(
        model.name,
        tuple(_layer(model, kind, variant) for kind, variant in zip(model.block_kinds, model.layout, strict=True)),
        model.d_model,
        model.vocab_size,
        model.tied_head,
        HEADLINE_PARAMS.get(model.name),
    )


HEADLINE_PARAMS: Final = {"qwen3-30b-a3b": 3_300_000_000, "qwen3-235b-a22b": 22_000_000_000}
"""Active parameters as the models' cards state them."""


def _layer(c: ModelConfig, kind: str, variant: Variant) -> LayerShape:
    d, f = c.d_model, c.d_ff
    products = [Product("attention_projections", attention_macs(d, c.n_heads, c.n_kv_heads, c.head_dim))]
    if kind == "moe":
        products.append(Product("router", d * c.n_experts))
        products.append(Product("experts", 3 * d * c.d_expert, c.experts_per_token, c.n_experts))
    else:
        products.append(Product("feed_forward", 3 * d * f))
    norms = 2 * d + (2 * c.head_dim if c.qk_norm else 0)
    return LayerShape(
        variant, c.n_heads, c.n_kv_heads, c.head_dim, tuple(products), 2 * c.n_kv_heads * c.head_dim, norms, d
    )


def attention_macs(d_model: int, n_heads: int, n_kv_heads: int, head_dim: int) -> int:
    """Query, key, value and output projections of a token: D·H·(2N + 2K)."""
    return d_model * head_dim * 2 * (n_heads + n_kv_heads)
