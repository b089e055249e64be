"""What the words of a command line name: a model's shape, a model that runs, a device."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
from tokenizers import Tokenizer

from attention.layout import describe_cut
from attention.unknown import unknown
from eval.cost.preset_shapes import COST_SHAPES, cost_model
from eval.cost.shapes import ModelShape
from refmodel.config import ModelConfig
from refmodel.default_model import default_gguf
from refmodel.presets import PRESETS
from refmodel.source import DEFAULT_MODEL, Model, open_config, open_model
from refmodel.tokenizer import load_tokenizer

Shape = ModelConfig | ModelShape
M = TypeVar("M", ModelConfig, ModelShape)


def shape_named(name: str, layout: str | None = None) -> Shape:
    """What costs need of a model: of a known one, or of a checkpoint's; with the layout that was asked for."""
    known = {**PRESETS, **COST_SHAPES}
    if name in known:
        shape = cost_model(name)
    elif Path(name).expanduser().exists():
        shape = open_config(name)
    else:
        raise ValueError(f"{unknown('model', name, known)}, or the path of a folder or of a .gguf file")
    return shape if layout is None else under_layout(shape, layout)


def under_layout(model: M, layout: str) -> M:
    """The model with other attention; one line on stderr where the layout's cycle is cut at the model's last layer."""
    changed = model.with_layout(layout)
    say_cuts([layout], len(changed.layout))
    return changed


def say_cuts(layouts: Iterable[str], n_layers: int) -> None:
    """One line on stderr for each layout whose cycle is cut where the layers end."""
    for layout in layouts:
        if words := describe_cut(layout, n_layers):
            print(f"{layout}: {words}", file=sys.stderr)


def tokenizer_here(name: str) -> Tokenizer | None:
    """The tokenizer of a checkpoint on this machine, its weights unread; None where it has to be fetched first."""
    source = default_gguf() if name == DEFAULT_MODEL else Path(name).expanduser()
    return load_tokenizer(source) if source.exists() else None


def running_config(name: str) -> ModelConfig:
    """The shape of a model that this project runs."""
    return open_config(runnable(name))


def runnable(name: str) -> str:
    """`name`, unless it is of a model that can only be costed."""
    _refuse_mere_shapes(name)
    return name


def running_model(options: argparse.Namespace, dtype: Any) -> Model:
    """The model of `--model`, its weights read or drawn from `--seed`."""
    _refuse_mere_shapes(options.model)
    return open_model(options.model, dtype, options.seed)


def _refuse_mere_shapes(name: str) -> None:
    if name in COST_SHAPES:
        raise ValueError(
            f"{name} is known by its shape alone, which can be costed (flops, crossover, variants, cards) and not "
            f"run; models that run: {', '.join(PRESETS)}"
        )


def running_dtype(options: argparse.Namespace, *, on_gpu: bool) -> Any:
    """Of `--dtype`, or what the device is best at."""
    return jnp.dtype(options.dtype or ("bfloat16" if on_gpu else "float32")).type
