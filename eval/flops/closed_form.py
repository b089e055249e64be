"""FLOPs of a model in closed form, exact integers per component, for every schedule.

A product of (m, k) and (k, n) is 2·m·k·n FLOPs.  Attention is 4·H per (query, key) pair and head: scores and values.
Norms, rotary positions, softmax, activations and sorting are not counted: they are no matrix products.

`useful` counts what the model's definition asks for: visible pairs, each row of each chosen expert, the head once, on
the last token.  `executed` counts what this project's program runs: tiles of keys, padded tiles of expert rows (as
many as any routing may need), the weighted sum of the experts' outputs ("combine"), the head at each step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from attention.attend import resolve_impl
from attention.kernels.cover import executed_pairs
from attention.pattern import visible_pairs
from attention.variant import Variant
from eval.flops.steps import Step, decode_steps, prefill_steps, step_positions
from eval.shapes import LayerShape, ModelShape, Product, shape_of
from refmodel.config import ModelConfig
from refmodel.kernels.grouped import choose_row_tile

Count = Literal["useful", "executed"]

COMPONENTS = (
    "attention_projections", "linear_attention", "router", "experts", "combine", "feed_forward", "active_parameters",
    "attention", "head",
)  # fmt: skip
"""In the order in which tables list them."""

NOT_LINEAR = ("attention", "head")


def prefill_flops(
    model: ModelConfig | ModelShape,
    tokens: int,
    *,
    count: Count = "useful",
    chunk_tokens: int | None = None,
    impl: str = "auto",
) -> dict[str, int]:
    """FLOPs of each component for one prompt of `tokens`, from an empty cache; absent components are left out."""
    return steps_flops(model, prefill_steps(tokens, chunk_tokens), count=count, impl=impl)


def decode_flops(
    model: ModelConfig | ModelShape,
    context_tokens: int,
    new_tokens: int = 1,
    *,
    count: Count = "useful",
    impl: str = "auto",
) -> dict[str, int]:
    """FLOPs of each component for `new_tokens` single-token steps after `context_tokens`."""
    return steps_flops(model, decode_steps(context_tokens, new_tokens), count=count, impl=impl)


def steps_flops(
    model: ModelConfig | ModelShape,
    steps: Iterable[Step],
    *,
    count: Count = "useful",
    impl: str = "auto",
) -> dict[str, int]:
    """FLOPs of each component, summed over `steps`."""
    if count not in get_args(Count):
        raise ValueError(f"no count {count!r}; accepted: {', '.join(get_args(Count))}")
    shape, steps = shape_of(model), tuple(steps)
    total: dict[str, int] = {}
    for layer, layers in shape.distinct_layers.items():
        for component, flops in _layer_flops(layer, shape.d_model, steps, count, impl).items():
            total[component] = total.get(component, 0) + layers * flops
    total["head"] = 2 * shape.head_macs * sum(step.wants_logits or count == "executed" for step in steps)
    return {name: total[name] for name in COMPONENTS if total.get(name)}


def _layer_flops(layer: LayerShape, d_model: int, steps: tuple[Step, ...], count: Count, impl: str) -> dict[str, int]:
    tokens = sum(step.tokens for step in steps)
    flops: dict[str, int] = {}
    for product in layer.products:
        rows = (
            tokens * product.rows_per_token
            if count == "useful"
            else sum(_executed_rows(product, step) for step in steps)
        )
        flops[product.component] = flops.get(product.component, 0) + 2 * product.macs * rows
        if count == "executed" and product.copies > 1:
            flops["combine"] = 2 * d_model * tokens * product.rows_per_token
    if layer.variant:
        flops["attention"] = sum(layer_attention_flops(layer, step, count, impl) for step in steps)
    return flops


def _executed_rows(product: Product, step: Step) -> int:
    """Rows that run: for experts whole row tiles, as many as `refmodel.kernels.grouped.tile_rows` provides."""
    rows = step.tokens * product.rows_per_token
    if product.copies <= 1:
        return rows
    tile = choose_row_tile(rows, product.copies)
    return (min(rows, product.copies) + rows // tile) * tile


def layer_attention_flops(layer: LayerShape, step: Step, count: Count = "useful", impl: str = "auto") -> int:
    """4·H for each pair that is visible (`useful`) or computed by `impl` (`executed`) in one layer and step."""
    pattern = layer.variant.pattern()
    if count == "useful":
        pairs = visible_pairs(pattern, layer.n_heads, step.tokens, step.start)
    else:
        q_pos_t, kv_pos_s = step_positions(pattern, step)
        if resolve_impl(impl, q_pos_t.size, kv_pos_s.size) == "dense":
            pairs = layer.n_heads * q_pos_t.size * kv_pos_s.size
        else:
            pairs = executed_pairs(pattern, layer.n_heads, layer.n_kv_heads, q_pos_t, kv_pos_s)
    return 4 * layer.head_dim * pairs


def attention_flops(
    variant: Variant, config: ModelConfig, tokens: int, *, count: Count = "useful", impl: str = "auto"
) -> int:
    """FLOPs of scores and values of one layer of `config` with `variant`, for a prompt of `tokens` in one step."""
    layer = LayerShape(variant, config.n_heads, config.n_kv_heads, config.head_dim, (), 0)
    (step,) = prefill_steps(tokens)
    return layer_attention_flops(layer, step, count, impl)


def linear_flops(flops: dict[str, int]) -> int:
    """The linear part of a count: all but attention and (by convention) the head."""
    return sum(value for name, value in flops.items() if name not in NOT_LINEAR)
