"""What the words of a command line name: a model's shape, a model that runs, a device."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from attention.layout import describe_cut
from eval.cost.shape_of import shape_of
from refmodel.checkpoint.find import open_config
from refmodel.presets import PRESETS, refuse_to_run
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from eval.measure.named_layout import NamedLayout


def shape_named(name: str, layout: str | None = None) -> ModelConfig:
    """What costs need of a model: of a known one, or of a checkpoint's; with the layout that was asked for."""
    shape = shape_of(name)
    return shape if layout is None else under_layout(shape, layout)


def under_layout(model: ModelConfig, layout: str) -> ModelConfig:
    """The model with other attention; one line on stderr where the layout's cycle is cut at the model's last layer."""
    changed = model.with_layout(layout)
    say_cuts([layout], len(model.mixers_of(layout)))
    return changed


def say_cuts(layouts: Iterable[str], n_layers: int) -> None:
    """One line on stderr for each layout whose cycle is cut where the layers end."""
    for layout in layouts:
        if words := describe_cut(layout, n_layers):
            print(f"{layout}: {words}", file=sys.stderr)


def say_drawn(layouts: Iterable[NamedLayout], config: ModelConfig, *, trained: bool) -> None:
    """One line on stderr for each variant with parameters that a `trained` model does not have: they are random."""
    own = set(config.layout)
    for variant in dict.fromkeys(one for layout in layouts for one in layout.variants if one not in own):
        if trained and any(variant.params(layer.heads) for layer in config.layers if layer.mixer):
            print(f"{variant}: its own parameters are drawn, for {config.name} has none: what it loses says nothing of "
                  "trained ones", file=sys.stderr)  # fmt: skip


def running_config(name: str) -> ModelConfig:
    """The description of a model that this project runs."""
    return open_config(runnable(name))


def runnable(name: str) -> str:
    """`name`, unless it is of a model that can only be costed."""
    if name in PRESETS:
        refuse_to_run(PRESETS[name])
    return name


def running_dtype(options: argparse.Namespace, *, on_gpu: bool) -> Any:
    """Of `--dtype`, or what the device is best at."""
    return jnp.dtype(options.dtype or ("bfloat16" if on_gpu else "float32")).type
