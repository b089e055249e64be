"""The device that a program is compiled for, which may not be there."""

from __future__ import annotations

import contextlib

import jax


def current_target() -> str:
    """The device that is compiled for as compilers name it: `sm_90`, `gfx1201`, or `cpu`.

    That of `compiling_for`, else the default device, else the first.
    """
    absent = jax.sharding.get_abstract_mesh().abstract_device
    if absent is not None:
        return str(absent.device_kind)
    chosen = jax.config.jax_default_device
    device = jax.devices(chosen)[0] if chosen is None or isinstance(chosen, str) else chosen
    if device.platform != "gpu":
        return device.platform
    capability = str(device.compute_capability)
    return capability if capability.startswith("gfx") else "sm_" + capability.replace(".", "")


def is_gpu(target: str) -> bool:
    """Whether a target of `current_target` is a GPU."""
    return is_nvidia(target) or target.startswith("gfx")


def is_nvidia(target: str) -> bool:
    """Whether a target of `current_target` is a GPU of NVIDIA's."""
    return target.startswith("sm_")


def compiling_for(target: str) -> contextlib.AbstractContextManager:
    """Functions traced in this context choose their implementations and tiles for `target`, a GPU that is not there.

    Pallas, too, asks the abstract mesh which GPU it lowers for (from jax 0.11 on; before, it assumes one).
    """
    device = jax.sharding.AbstractDevice(device_kind=target, num_cores=None, platform="gpu")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device))
