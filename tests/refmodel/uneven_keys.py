"""A model that every eviction policy has something to choose in."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from refmodel.presets import preset
from refmodel.weights.random import random_params


def model(layout: str):
    """A small model with experts whose keys have different norms, which the weights of their norm make: with equal ones
    all keys have one norm, and knorm is decided by rounding."""
    config = preset("tiny-moe").with_layout(layout)
    params = random_params(config, 7, jnp.float32)
    scale = params["blocks"]["moe"]["attn"]["k_norm"]["scale"]
    scale *= jax.random.uniform(jax.random.key(5), scale.shape, minval=0.5, maxval=2)
    params["blocks"]["moe"]["attn"]["k_norm"]["scale"] = scale
    return config, params
