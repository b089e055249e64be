"""How far the model is from what a golden folder says.  No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend
from refmodel.cache import init_cache
from refmodel.model import hidden_states, unembed
from refmodel.specification import ModelConfig
from tests.checkpoints import load


class Errors(NamedTuple):
    """Largest absolute errors: of the logits, and of each layer's output [L]."""

    logits: float
    layers: np.ndarray


def errors(
    folder: Path,
    steps: Sequence[int] | None = None,
    change: Callable[[ModelConfig], ModelConfig] = lambda config: config,
    impl: str = "blockwise",
) -> Errors:
    """The errors at all positions, the tokens fed in steps of the given sizes (default: all at once).

    `impl` is named, since `auto` would take the oracle for prompts as short as these.

    `change` puts another config in the place of the folder's: a golden file that does not notice is worth nothing.
    """
    config, params = load(folder, jnp.float32)
    config = change(config)
    golden = np.load(folder / "golden.npz")
    tokens_bt = golden["tokens"]
    config = config.at_length(tokens_bt.shape[1])
    steps = steps or [tokens_bt.shape[1]]
    if sum(steps) != tokens_bt.shape[1]:
        raise ValueError(f"steps {steps} do not add up to {tokens_bt.shape[1]} tokens")

    @jax.jit
    def step(params, cache, tokens_bt):
        hidden = hidden_states(config, params, cache, tokens_bt, attend=partial(attend, impl=impl), every_layer=True)
        return unembed(config, params, hidden.final_btd), hidden.layers_lbtd, hidden.cache

    cache = init_cache(config, *tokens_bt.shape)
    logits, layers = [], []
    for part_bt in np.split(tokens_bt, np.cumsum(steps)[:-1], axis=1):
        logits_btv, layers_lbtd, cache = step(params, cache, part_bt)
        logits.append(logits_btv)
        layers.append(layers_lbtd)
    logits_btv, layers_lbtd = np.concatenate(logits, axis=1), np.concatenate(layers, axis=2)
    if (logits_btv.shape, layers_lbtd.shape) != (golden["logits"].shape, golden["layers"].shape):
        raise ValueError(f"{folder}: logits {logits_btv.shape} or layers {layers_lbtd.shape} do not fit golden.npz")
    return Errors(
        float(np.abs(logits_btv - golden["logits"]).max()),
        np.abs(layers_lbtd - golden["layers"]).max(axis=(1, 2, 3)),
    )
