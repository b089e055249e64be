"""Arrays of numpy's as JAX has them, for `jnp.asarray` compiles a copy, and a cast, for each shape that it is given."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def on_device(x: np.ndarray, dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    """Cast on the host."""
    return jax.device_put(np.asarray(x).astype(dtype))
