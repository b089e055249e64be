"""The device that a program is compiled for, which may not be there."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import jax

_compiled_for = jax.make_user_context(None)
"""The target of `compiling_for`.  What was traced under another one is traced again: jit's caches know it."""

PRODUCTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "V100": "sm_70", "T4": "sm_75", "A100": "sm_80", "A10": "sm_86", "A10G": "sm_86", "L4": "sm_89",
        "L40": "sm_89", "L40S": "sm_89", "H20": "sm_90", "H100": "sm_90", "H200": "sm_90", "H800": "sm_90",
        "GH200": "sm_90", "B200": "sm_100", "GB200": "sm_100", "MI250X": "gfx90a", "MI300X": "gfx942",
        "MI325X": "gfx942", "R9700": "gfx1201", "9070": "gfx1201",
    }
)  # fmt: skip
"""Targets by the word in a device's own name that says which product it is: "NVIDIA H100 80GB HBM3"."""


def current_target() -> str:
    """The device that is compiled for as compilers name it: `sm_90`, `gfx1201`, or `cpu`.

    That of `compiling_for`, else of the mesh in use (`jax.set_mesh`), else the default device, else the first.
    """
    if _compiled_for.value is not None:
        return _compiled_for.value
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is not None:
        return _target_of_kind(device.platform, device.device_kind)
    # jax defines its options as it starts.
    chosen: Any = jax.config.jax_default_device  # type: ignore[attr-defined]
    return _target_of(jax.devices(chosen)[0] if chosen is None or isinstance(chosen, str) else chosen)


def _target_of_kind(platform: str, kind: str) -> str:
    """The target of devices that call themselves `kind`: their own answer where they are there, else by their name.

    Raises `ValueError` for GPUs that are neither: any guess would run kernels of another device without a word.
    """
    if platform != "gpu":
        return platform
    here = (device for device in jax.devices() if device.platform == "gpu" and device.device_kind == kind)
    if (device := next(here, None)) is not None:
        return _target_of(device)
    if re.fullmatch(r"sm_\d+|gfx[0-9a-f]+", kind):
        return kind
    known = next((PRODUCTS[word] for word in re.findall(r"\w+", kind) if word in PRODUCTS), None)
    if known is None:
        raise ValueError(
            f"the mesh has GPUs {kind!r}, which are not there and not known; name their target by compiling_for; "
            f"known: {', '.join(PRODUCTS)}"
        )
    return known


def _target_of(device: Any) -> str:
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


@contextlib.contextmanager
def compiling_for(target: str) -> Iterator[None]:
    """Functions traced in this context choose their implementations and tiles for `target`, which need not be there.

    Pallas asks the mesh in use which GPU it lowers for (from jax 0.11 on; before, it assumes one), so the mesh is told
    too and keeps its axes; a mesh that is entered inside changes nothing of the target.
    """
    mesh = jax.sharding.get_abstract_mesh()
    device = jax.sharding.AbstractDevice(
        device_kind=target, num_cores=None, platform="gpu" if is_gpu(target) else target
    )
    with _compiled_for(target), jax.sharding.use_abstract_mesh(mesh.update(abstract_device=device)):
        yield
