"""How much of a GPU's memory JAX may take."""

from __future__ import annotations

import os

import jax

DEVICE_SHARE = 0.95
"""61 GB of weights and a prompt of 65,536 tokens fit a card of 80 GB in this, and not in the default three quarters."""


def _ask_for_most_of_the_device() -> None:
    """Must be called before JAX opens its devices; a share that the environment already asks for stands."""
    if not {"XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"} & os.environ.keys():
        os.environ["XLA_CLIENT_MEM_FRACTION"] = str(DEVICE_SHARE)


def opens_a_gpu() -> bool:
    """Whether JAX runs on a GPU, of whose memory it then has most: the share is asked for before the device opens."""
    _ask_for_most_of_the_device()
    return jax.default_backend() == "gpu"
