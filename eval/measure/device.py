"""The device that JAX opens, and how much of its memory it may take."""

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


def open_device(device: str | None) -> bool:
    """Whether JAX runs on a GPU.  Raises `ValueError` if it does not run on `device`."""
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    on_gpu = opens_a_gpu()
    found = jax.default_backend()
    if device and found != device:
        hint = "; for an NVIDIA GPU JAX needs `pip install 'jax[cuda13]'`" if device == "gpu" else ""
        raise ValueError(f"--device {device}: JAX runs on {found} here; accepted: {found}, or no --device{hint}")
    return on_gpu
