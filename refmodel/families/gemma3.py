"""Gemma 3 (2503.19786), the text model: five windows to a layer that sees all, four norms a block, scaled embedding."""

from __future__ import annotations

from typing import Final

from attention.cost import Heads
from attention.full import Full
from attention.layout import Layout
from attention.sliding_window import SlidingWindow
from refmodel.layer_spec import LayerSpec
from refmodel.parts import Dense, Norm, Rope
from refmodel.specification import ModelConfig

CYCLE: Final = 6


def local_global(n_layers: int, window: int, every: int = CYCLE) -> Layout:
    """Every `every`-th layer global, starting with local ones; a last incomplete cycle is local."""
    return tuple(Full() if (i + 1) % every == 0 else SlidingWindow(window) for i in range(n_layers))


def gemma3(
    name: str, d_model: int, heads: tuple[int, int, int], d_ff: int, layout: Layout, *, vocab_size: int,
    query_scale: float, norm_eps: float = 1e-6, local: Rope = Rope(10_000.0), world: Rope = Rope(1_000_000.0),
    max_positions: int = 131_072, tied_head: bool = True,
) -> ModelConfig:  # fmt: skip
    """A Gemma-3 text model of (N, K, H) heads; layers with a window turn by `local`, the others by `world`.

    `query_scale` is what the softmax scale is the inverse square root of.
    """
    norm = Norm(norm_eps, offset=1.0, after=True)
    scale = None if query_scale == heads[2] else query_scale**-0.5
    layers = tuple(
        LayerSpec(
            mixer, Heads(*heads, d_model), Dense(d_ff, "gelu_tanh"), norm,
            local if isinstance(mixer, SlidingWindow) else world, softmax_scale=scale,
        )
        for mixer in layout
    )  # fmt: skip
    return ModelConfig(
        name, layers, d_model, vocab_size, tied_head=tied_head, final_norm=norm, embedding_scale=d_model**0.5,
        max_positions=max_positions,
    )  # fmt: skip


def _preset(size: str, n_layers: int, d_model: int, heads: tuple[int, int, int], d_ff: int, window: int) -> ModelConfig:
    return gemma3(
        f"gemma3-{size}", d_model, heads, d_ff, local_global(n_layers, window), vocab_size=262_144,
        query_scale=d_model / heads[0] if size == "27b" else 256,
        world=Rope(1_000_000.0, 1.0 if size in ("270m", "1b") else 8.0),
        max_positions=32_768 if size in ("270m", "1b") else 131_072,
    )  # fmt: skip


PRESETS: Final = (
    _preset("270m", 18, 640, (4, 1, 256), 2048, 512),
    _preset("1b", 26, 1152, (4, 1, 256), 6912, 512),
    _preset("4b", 34, 2560, (8, 4, 256), 10_240, 1024),
    _preset("12b", 48, 3840, (16, 8, 256), 15_360, 1024),
    _preset("27b", 62, 5376, (32, 16, 128), 21_504, 1024),
)
