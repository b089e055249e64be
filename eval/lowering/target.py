"""The GPUs that can be compiled for without being there: what the compiler is told, and what a kernel must fit into."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

KIB: Final = 1024


@dataclass(frozen=True)
class Target:
    """One GPU architecture, as a card that has it.

    Attributes:
        name: what the compiler calls the architecture.
        card: the card of `eval.cost.cards` that stands for it.
        lanes: of a wave.
        lds_bytes: most that a workgroup may allocate; `plain_lds_bytes` without asking for more than is usual.
        core_lds_bytes: of a compute unit, as XLA is told it.
        reserved_lds_bytes: what the system takes of it for each workgroup.
        lds_unit_bytes: what the workgroups share that run side by side on `simds` SIMDs.
        simds: SIMDs of a work-group processor (RDNA), of a compute unit (CDNA); schedulers of a
            multiprocessor (NVIDIA).
        vgprs: vector registers per lane of a SIMD, given out in steps of `vgpr_granule`.
        max_waves: resident on a SIMD; `max_groups`, workgroups on `simds` SIMDs, above all others where not known.
        max_vgprs: that one wave can address.
        matrix_cycles: of a SIMD, for a 16x16x16 product of 16-bit values.
    """

    name: str
    card: str
    lanes: int
    compute_units: int
    clock_ghz: float
    bandwidth_bytes_per_s: int
    l2_bytes: int
    lds_bytes: int = 64 * KIB
    lds_unit_bytes: int = 128 * KIB
    simds: int = 4
    vgprs: int = 1536
    vgpr_granule: int = 24
    max_vgprs: int = 256
    max_waves: int = 16
    matrix_cycles: int = 16
    plain_lds_bytes: int = 64 * KIB
    core_lds_bytes: int = 64 * KIB
    reserved_lds_bytes: int = 0
    max_groups: int = 1024


_MIB: Final = 2**20

_ALL: Final = (
    Target("gfx1201", "r9700", 32, 64, 2.92, 640 * 10**9, 8 * _MIB),
    Target("gfx1100", "rx-7900-xtx", 32, 96, 2.5, 960 * 10**9, 6 * _MIB, matrix_cycles=32),
    Target("gfx1151", "strix-halo", 32, 40, 2.9, 256 * 10**9, 2 * _MIB, matrix_cycles=32),
    Target(
        "gfx942", "mi300x", 64, 304, 2.1, 5300 * 10**9, 4 * _MIB,
        lds_unit_bytes=64 * KIB, vgprs=512, vgpr_granule=8, max_vgprs=512, max_waves=8, matrix_cycles=16,
    ),
    Target(  # CUDA C++ Programming Guide, "Technical specifications per compute capability", 9.0
        "sm_90", "h100-sxm", 32, 132, 1.98, 3350 * 10**9, 50 * _MIB,
        lds_bytes=227 * KIB, lds_unit_bytes=228 * KIB, vgprs=512, vgpr_granule=8, max_vgprs=255, max_waves=16,
        matrix_cycles=8, plain_lds_bytes=48 * KIB, core_lds_bytes=228 * KIB, reserved_lds_bytes=KIB, max_groups=32,
    ),
)  # fmt: skip

TARGETS: Final[MappingProxyType[str, Target]] = MappingProxyType({target.name: target for target in _ALL})


def target(name: str) -> Target:
    """The named target, or a `ValueError` that lists them."""
    if name not in TARGETS:
        raise ValueError(f"no target {name!r}; accepted: {', '.join(TARGETS)}")
    return TARGETS[name]
