"""Gemma 4, counted and not run: wider heads in the global layers, whose values are the keys' projection.

Keys are normed with a scale and rotated, values normed without and not rotated: the cache holds both.
"""

from __future__ import annotations

from typing import Final

from attention.cost import Heads
from attention.full import Full
from attention.mixer import Mixer
from refmodel.families.gemma3 import local_global
from refmodel.layer_spec import LayerSpec
from refmodel.parameters import Table, attention_rows, feed_forward_rows
from refmodel.parts import Dense, Experts, FeedForward
from refmodel.specification import ModelConfig


def _model(
    name: str, n_layers: int, d: int, local: tuple[int, int, int], world: tuple[int, int, int],
    feed_forwards: tuple[FeedForward, ...], note: str, headline: int | None = None,
) -> ModelConfig:  # fmt: skip
    """Layers of (N, K, H) heads."""
    rows: Table = tuple(row for one in feed_forwards for row in feed_forward_rows(d, one))

    def layer(mixer: Mixer) -> LayerSpec:
        sees_all = isinstance(mixer, Full)
        heads = Heads(*(world if sees_all else local), d)
        told = (*attention_rows(heads, value_is_key=sees_all), *rows)
        return LayerSpec(mixer, heads, feed_forwards[0], told=told)

    return ModelConfig(
        name, tuple(map(layer, local_global(n_layers, 1024))), d, 262_144, tied_head=True,
        cannot_run="values from the keys' projection are not computed", headline_params=headline, note=note,
    )  # fmt: skip


PRESETS: Final = (
    _model(
        "gemma4-26b-a4b", 30, 2816, (16, 8, 256), (16, 2, 512), (Experts(128, 8, 704), Dense(2112)),
        "global layers have one projection for keys and values; vector parameters are left out", headline=4_000_000_000,
    ),
    _model(
        "gemma4-31b", 60, 5376, (32, 16, 256), (32, 4, 512), (Dense(21_504),),
        "feed-forward width assumed to be gemma3-27b's, which gives 30.7e9 parameters; vector parameters left out",
    ),
)  # fmt: skip
