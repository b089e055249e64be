"""Cost shapes of published models that this project does not run, and of the post that started it.

Numbers are from the models' published config.json files; `note` says what a shape assumes.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from attention.full import Full
from attention.sliding_window import SlidingWindow
from attention.unknown import unknown
from attention.variant import Variant
from eval.cost.shapes import LayerShape, ModelShape, Product, attention_macs, shape_of
from refmodel.config import ModelConfig
from refmodel.presets import PRESETS


def _attention_layer(
    variant: Variant, d_model: int, heads: tuple[int, int, int], *products: Product,
    key_is_value: bool = False, vectors: int = 0,
) -> LayerShape:  # fmt: skip
    """A layer of (N, K, H) heads with plain projections; `key_is_value` has no value projection and caches once."""
    n, k, h = heads
    macs = attention_macs(d_model, n, k, h) - (d_model * k * h if key_is_value else 0)
    kv_values = (1 if key_is_value else 2) * k * h
    return LayerShape(
        variant, n, k, h, (Product("attention_projections", macs), *products), kv_values, vectors, d_model
    )


def _swiglu(d_model: int, d_ff: int) -> Product:
    return Product("feed_forward", 3 * d_model * d_ff)


def _experts(d_model: int, d_expert: int, n_experts: int, per_token: int) -> tuple[Product, Product]:
    return (
        Product("router", d_model * n_experts),
        Product("experts", 3 * d_model * d_expert, per_token, n_experts),
    )


def _local_global(n_layers: int, local: LayerShape, world: LayerShape, every: int) -> tuple[LayerShape, ...]:
    """Every `every`-th layer global, starting with local ones; a last incomplete cycle is local."""
    return tuple(world if (i + 1) % every == 0 else local for i in range(n_layers))


def _gemma3(size: str, n_layers: int, d_model: int, heads: tuple[int, int, int], d_ff: int, window: int) -> ModelShape:
    vectors = 4 * d_model + 2 * heads[2]
    local, world = (
        _attention_layer(variant, d_model, heads, _swiglu(d_model, d_ff), vectors=vectors)
        for variant in (SlidingWindow(window), Full())
    )
    return ModelShape(f"gemma3-{size}", _local_global(n_layers, local, world, 6), d_model, 262_144, tied_head=True)


def _gemma4_26b() -> ModelShape:
    d = 2816
    block = (*_experts(d, 704, 128, 8), _swiglu(d, 2112))
    local = _attention_layer(SlidingWindow(1024), d, (16, 8, 256), *block)
    world = _attention_layer(Full(), d, (16, 2, 512), *block, key_is_value=True)
    note = "global layers use their keys as values; vector parameters are left out"
    return ModelShape("gemma4-26b-a4b", _local_global(30, local, world, 6), d, 262_144, True, 4_000_000_000, note)


def _gemma4_31b() -> ModelShape:
    d = 5376
    block = _swiglu(d, 21_504)
    local = _attention_layer(SlidingWindow(1024), d, (32, 16, 256), block)
    world = _attention_layer(Full(), d, (32, 4, 512), block, key_is_value=True)
    note = "feed-forward width assumed to be gemma3-27b's, which gives 30.7e9 parameters; vector parameters left out"
    return ModelShape("gemma4-31b", _local_global(60, local, world, 6), d, 262_144, True, note=note)


def _gpt_oss() -> ModelShape:
    d, heads, n_experts = 2880, (64, 8, 64), 32
    n, k, h = heads
    biases = h * (n + 2 * k) + d + n_experts + n_experts * 3 * d
    vectors = 2 * d + n + biases  # n learned sinks: an extra softmax column each, no pair
    local, world = (
        _attention_layer(variant, d, heads, *_experts(d, d, n_experts, 4), vectors=vectors)
        for variant in (SlidingWindow(128), Full())
    )
    return ModelShape("gpt-oss-20b", (local, world) * 12, d, 201_088, headline_params=3_600_000_000)


def _mistral() -> ModelShape:
    d = 4096
    layer = _attention_layer(SlidingWindow(4096), d, (32, 8, 128), _swiglu(d, 14_336), vectors=2 * d)
    return ModelShape("mistral-7b", (layer,) * 32, d, 32_000)


def _llama(name: str, n_layers: int, d: int, heads: tuple[int, int, int], d_ff: int, vocab: int) -> ModelShape:
    return ModelShape(name, (_attention_layer(Full(), d, heads, _swiglu(d, d_ff), vectors=2 * d),) * n_layers, d, vocab)


def _delta_net(d: int, d_expert: int, n_experts: int, per_token: int) -> LayerShape:
    """A Gated DeltaNet layer with 16 key heads and 32 value heads of 128 (Yang et al., 2412.06464).

    The recurrence in its sequential form: read S·k, write v·k', read S·q, 3 H² a value head and token.  The chunked
    form that runs on matrix units does more.
    """
    key_heads, value_heads, h, conv = 16, 32, 128, 4
    key_dim, value_dim = key_heads * h, value_heads * h
    projections = d * (2 * key_dim + 2 * value_dim + 2 * value_heads) + value_dim * d
    recurrence = 3 * h * h * value_heads
    convolution = conv * (2 * key_dim + value_dim)
    products = (
        Product("attention_projections", projections),
        Product("linear_attention", convolution),
        Product("linear_attention", recurrence, copies=0),
        *_experts(d, d_expert, n_experts, per_token),
        Product("feed_forward", 3 * d * d_expert + d),
    )
    return LayerShape(None, 0, 0, 0, products, 0, 2 * d + 2 * value_heads + h)


def _gated_attention(d: int, d_expert: int, n_experts: int, per_token: int) -> LayerShape:
    """The full-attention layer of the same hybrids: 16 query heads of 256 with an output gate as wide, 2 key heads."""
    n, k, h = 16, 2, 256
    products = (
        Product("attention_projections", attention_macs(d, n, k, h) + d * n * h),
        *_experts(d, d_expert, n_experts, per_token),
        Product("feed_forward", 3 * d * d_expert + d),
    )
    return LayerShape(Full(), n, k, h, products, 2 * k * h, 2 * d + 2 * h, d)


def _hybrid(name: str, n_layers: int, n_experts: int, per_token: int, vocab: int) -> ModelShape:
    d, d_expert = 2048, 512
    moe = (d, d_expert, n_experts, per_token)
    layers = _local_global(n_layers, _delta_net(*moe), _gated_attention(*moe), 4)
    note = "DeltaNet state counted in its sequential form; one shared expert under feed_forward"
    return ModelShape(name, layers, d, vocab, headline_params=3_000_000_000, note=note)


def _post() -> ModelShape:
    """64 layers with N·H = 4096 and 3.3e9 active parameters, spread evenly: 524,288·N² of attention."""
    n_layers, active = 64, 3_300_000_000
    layer = LayerShape(
        Full(), 32, 32, 128, (Product("active_parameters", active // n_layers),), 2 * 32 * 128, d_model=4096
    )
    note = "the post's own arithmetic, whose cache is not known; not the shipped 35B-A3B, which is qwen3.5-35b-a3b"
    return ModelShape("post-35b-a3b", (layer,) * n_layers, 4096, 151_936, headline_params=active, note=note)


_ALL: Final = (
    _hybrid("qwen3.5-35b-a3b", 40, 256, 8, 248_320),
    _hybrid("qwen3-next-80b-a3b", 48, 512, 10, 151_936),
    _gemma3("270m", 18, 640, (4, 1, 256), 2048, 512),
    _gemma3("1b", 26, 1152, (4, 1, 256), 6912, 512),
    _gemma3("4b", 34, 2560, (8, 4, 256), 10_240, 1024),
    _gemma3("12b", 48, 3840, (16, 8, 256), 15_360, 1024),
    _gemma3("27b", 62, 5376, (32, 16, 128), 21_504, 1024),
    _gemma4_26b(),
    _gemma4_31b(),
    _gpt_oss(),
    _mistral(),
    _llama("llama2-7b", 32, 4096, (32, 32, 128), 11_008, 32_000),
    _llama("llama3-8b", 32, 4096, (32, 8, 128), 14_336, 128_256),
    _post(),
)

COST_SHAPES: Final[MappingProxyType[str, ModelShape]] = MappingProxyType({shape.name: shape for shape in _ALL})
"""Models that can be costed and not run."""


def cost_model(name: str) -> ModelConfig | ModelShape:
    """A preset that runs or a cost-only shape, or a `ValueError` that lists both."""
    known: dict[str, ModelConfig | ModelShape] = {**PRESETS, **COST_SHAPES}
    if name not in known:
        raise ValueError(unknown("model", name, known))
    return known[name]


def every_shape() -> tuple[ModelShape, ...]:
    """The shapes of all known models, those that run first."""
    return tuple(shape_of(model) for model in (*PRESETS.values(), *COST_SHAPES.values()))
