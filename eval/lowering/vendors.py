"""The maker of each target."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from eval.lowering.amd import AMD
from eval.lowering.nvidia import NVIDIA
from eval.lowering.target import Target
from eval.lowering.vendor import Vendor

VENDORS: Final = MappingProxyType({"gfx": AMD, "sm_": NVIDIA})
"""By the first letters of a target's name."""


def vendor_of(target: Target) -> Vendor:
    return VENDORS[target.name[:3]]
