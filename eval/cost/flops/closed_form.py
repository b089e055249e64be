"""FLOPs of a model in closed form, exact integers per component, for every schedule.

A product of (m, k) and (k, n) is 2·m·k·n FLOPs.  Attention is 4·H per (query, key) pair and head: scores and values.
Norms, rotary positions, softmax, activations and sorting are not counted: they are no matrix products.

`useful` counts what the model's definition asks for: visible pairs, each row of each chosen expert, the head once, on
the last token.  `executed` counts what this project's program runs: tiles of keys, padded tiles of expert rows (as
many as any routing may need), the weighted sum of the experts' outputs ("combine").  "selection" is what choosing the
pairs costs: routers of spans, gates of blocks, scores of keys to evict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

from attention.backends.registry import BACKENDS
from attention.checks import token_count, whole
from attention.cost import ONLY_LAYER, Cost, Depth
from attention.kernels.row_tiles import choose_row_tile, most_tiles
from attention.mixer import Mixer
from eval.cost.shape_of import HasConfig, shape_of
from refmodel.layer_spec import LayerSpec
from refmodel.parameters import Parameter
from refmodel.schedule import Step, prefill_steps
from refmodel.specification import ModelConfig

Count = Literal["useful", "executed"]

COMPONENTS = (
    "attention_projections", "linear_attention", "router", "experts", "combine", "feed_forward", "active_parameters",
    "attention", "selection", "head",
)  # fmt: skip
"""In the order in which tables list them."""

NOT_LINEAR = ("attention", "selection", "head")


def prefill_flops(
    model: str | HasConfig | ModelConfig,
    tokens: int | str,
    *,
    count: Count = "useful",
    chunk_tokens: int | str | None = None,
    impl: str = "auto",
    batch: int = 1,
) -> dict[str, int]:
    """FLOPs of each component for `batch` prompts of `tokens`, from an empty cache; absent components are left out.

    Examples:
        >>> from eval import prefill_flops
        >>> prefill_flops("tiny-dense", 64)
        {'attention_projections': 6291456, 'feed_forward': 5898240, 'attention': 3194880, 'head': 24672}
    """
    if impl != "auto":
        BACKENDS.find(impl)
    chunk = None if chunk_tokens is None else token_count("chunk_tokens", chunk_tokens)
    steps = prefill_steps(token_count("tokens", tokens), chunk)
    return steps_flops(shape_of(model), steps, count=count, impl=impl, batch=whole("batch", batch))


def steps_flops(
    model: ModelConfig,
    steps: Iterable[Step],
    *,
    count: Count = "useful",
    impl: str = "auto",
    batch: int = 1,
) -> dict[str, int]:
    """FLOPs of each component, summed over `steps`, each of `batch` rows; experts' tiles are shared by the rows."""
    if count not in get_args(Count):
        raise ValueError(f"no count {count!r}; accepted: {', '.join(get_args(Count))}")
    steps = tuple(steps)
    if steps:
        model = model.at_length(max(step.capacity for step in steps), steps[0].prompt)
    for variant in dict.fromkeys(model.layout):
        variant.check_steps((step.start, step.tokens) for step in steps)
    total: dict[str, int] = {}
    for (layer, depth), layers in Counter(model.layers_at_depth).items():
        for component, flops in _layer_flops(layer, depth, model.d_model, steps, count, impl, batch).items():
            total[component] = total.get(component, 0) + layers * flops
    total["head"] = 2 * model.head_macs * batch * sum(step.wants_logits for step in steps)
    return {name: total[name] for name in COMPONENTS if total.get(name)}


def _layer_flops(
    layer: LayerSpec, depth: Depth, d_model: int, steps: tuple[Step, ...], count: Count, impl: str, batch: int
) -> dict[str, int]:
    tokens = batch * sum(step.tokens for step in steps)
    flops: dict[str, int] = {}
    for product in layer.products:
        rows = (
            tokens * product.rows_per_token
            if count == "useful"
            else sum(_executed_rows(product, batch * step.tokens) for step in steps)
        )
        flops[product.component] = flops.get(product.component, 0) + 2 * product.macs * rows
        if count == "executed" and product.copies > 1:
            flops["combine"] = 2 * d_model * tokens * product.rows_per_token
    if layer.mixer:
        costs = [attention_cost(layer, step, count, impl, depth) for step in steps]
        flops[layer.mixer.component] = batch * sum(cost.mixing_flops(layer.heads) for cost in costs)
        flops["selection"] = batch * sum(cost.selection_flops for cost in costs)
    return flops


def _executed_rows(product: Parameter, tokens: int) -> int:
    """Rows that run: for experts whole row tiles, as many as `attention.kernels.row_tiles.tile_rows` provides."""
    rows = tokens * product.rows_per_token
    if product.copies <= 1:
        return rows
    tile = choose_row_tile(rows, product.copies)
    return most_tiles(rows, product.copies, tile) * tile


def attention_cost(
    layer: LayerSpec, step: Step, count: Count = "useful", impl: str = "auto", depth: Depth = ONLY_LAYER
) -> Cost:
    """What one layer and step asks for (`useful`) or computes with `impl` (`executed`)."""
    variant = layer.variant.after_prompt(step.prompt)
    if count == "useful":
        return variant.useful(layer.heads, step.tokens, step.start, depth)
    return variant.executed(layer.heads, step.tokens, step.start, step.capacity, impl, depth)


def attention_flops(
    variant: Mixer, config: ModelConfig, tokens: int, *, count: Count = "useful", impl: str = "auto"
) -> int:
    """FLOPs of scores, values and selection of one layer of `config` with `variant`: a prompt of `tokens`, one step."""
    (layer,) = config.one_layer(variant).at_length(tokens).layers
    (step,) = prefill_steps(tokens)
    return attention_cost(layer, step, count, impl).flops(layer.heads)


def linear_flops(flops: dict[str, int]) -> int:
    """The linear part of a count: all but attention and (by convention) the head."""
    return sum(value for name, value in flops.items() if name not in NOT_LINEAR)
