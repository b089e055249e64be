"""What the words of a command line name: a model's shape, a model that runs, a device."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from attention.layout import describe_cut
from attention.unknown import unknown
from refmodel.checkpoint import open_checkpoint
from refmodel.checkpoint.find import open_config
from refmodel.default_model import DEFAULT_MODEL, default_gguf
from refmodel.presets import PRESETS, preset, refuse_to_run
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from refmodel.source import Model


def shape_named(name: str, layout: str | None = None) -> ModelConfig:
    """What costs need of a model: of a known one, or of a checkpoint's; with the layout that was asked for."""
    if name in PRESETS:
        shape = preset(name)
    elif Path(name).expanduser().exists():
        shape = open_config(name)
    else:
        raise ValueError(f"{unknown('model', name, PRESETS)}, or the path of a folder or of a .gguf file")
    return shape if layout is None else under_layout(shape, layout)


def under_layout(model: ModelConfig, layout: str) -> ModelConfig:
    """The model with other attention; one line on stderr where the layout's cycle is cut at the model's last layer."""
    changed = model.with_layout(layout)
    say_cuts([layout], len(changed.layout))
    return changed


def say_cuts(layouts: Iterable[str], n_layers: int) -> None:
    """One line on stderr for each layout whose cycle is cut where the layers end."""
    for layout in layouts:
        if words := describe_cut(layout, n_layers):
            print(f"{layout}: {words}", file=sys.stderr)


def refuse_without_tokenizer(name: str) -> None:
    """Raises `ValueError` for a folder on this machine without a tokenizer, before its weights are read."""
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "tokenizer.json").exists():
        raise ValueError(f"{name} has no tokenizer.json to read a text with; a model's `prefill` takes token ids")


def tokenizer_here(name: str) -> Tokenizer | None:
    """The tokenizer of a checkpoint on this machine, its weights unread; None where it has to be fetched first."""
    source = default_gguf() if name == DEFAULT_MODEL else Path(name).expanduser()
    return open_checkpoint(source).tokenizer() if source.exists() else None


def running_config(name: str) -> ModelConfig:
    """The description of a model that this project runs."""
    return open_config(runnable(name))


def runnable(name: str) -> str:
    """`name`, unless it is of a model that can only be costed."""
    if name in PRESETS:
        refuse_to_run(PRESETS[name])
    return name


def running_model(options: argparse.Namespace, dtype: Any) -> Model:
    """The model of `--model`, its weights read or drawn from `--seed`."""
    from refmodel.source import open_model  # costs need no transformer

    return open_model(options.model, dtype, options.seed)


def running_dtype(options: argparse.Namespace, *, on_gpu: bool) -> Any:
    """Of `--dtype`, or what the device is best at."""
    return jnp.dtype(options.dtype or ("bfloat16" if on_gpu else "float32")).type
