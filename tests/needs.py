"""What marked tests need beside an ordinary installation, in words where it is not here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import jax

from eval.lowering.amd import AMD
from eval.lowering.nvidia import NVIDIA
from eval.lowering.toolchain import plugin_path

CHROMIUM: Final = Path("/usr/bin/chromium")


@functools.cache
def no_gpu() -> str:
    return "" if jax.default_backend() == "gpu" else "needs a GPU"


@functools.cache
def no_compilers() -> str:
    try:
        for vendor in (AMD, NVIDIA):
            plugin_path(vendor)
    except ValueError as error:
        return str(error)
    return ""


@functools.cache
def no_browser() -> str:
    return "" if CHROMIUM.exists() else f"needs {CHROMIUM}: make browser"


NEEDS: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {"gpu": no_gpu, "lower": no_compilers, "browser": no_browser}
)
"""By marker: what is missing, empty where nothing is."""
