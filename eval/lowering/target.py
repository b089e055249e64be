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
        card: the card of `eval.hardware` that stands for it.
        lanes: of a wave.
        lds_bytes: most that a workgroup may allocate.
        lds_unit_bytes: what the workgroups share that run side by side on `simds` SIMDs.
        simds: SIMDs of a work-group processor (RDNA) or of a compute unit (CDNA).
        vgprs: vector registers per lane of a SIMD, given out in steps of `vgpr_granule`.
        max_waves: resident on a SIMD.
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

    def config_text(self) -> str:
        """The text-format `GpuTargetConfigProto` that XLA compiles by; it ships none for gfx1201.

        Pallas takes the architecture from `device_description_str`.  The memory is given as boundless: told of a
        card that bf16 weights do not fit, XLA computes half of the projections twice to save some.  Whether a program
        fits is said by the report.
        """
        registers = self.vgprs * self.lanes * self.simds
        return f"""\
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: {self.lanes}
  shared_memory_per_block: {self.lds_bytes}
  shared_memory_per_core: {self.lds_bytes}
  shared_memory_per_block_optin: {self.lds_bytes}
  threads_per_core_limit: {self.max_waves * self.lanes * 4}
  core_count: {self.compute_units}
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {self.bandwidth_bytes_per_s}
  l2_cache_size: {self.l2_bytes}
  clock_rate_ghz: {self.clock_ghz}
  device_memory_size: {2**44}
  registers_per_core_limit: {registers}
  registers_per_block_limit: {registers}
  rocm_compute_capability {{ gcn_arch_name: "{self.name}" }}
}}
platform_name: "ROCM"
runtime_version {{ major: 7 minor: 2 patch: 0 }}
dnn_version_info {{ major: 3 minor: 5 patch: 0 }}
device_description_str: "{self.name}"
"""


_MIB: Final = 2**20

_ALL: Final = (
    Target("gfx1201", "r9700", 32, 64, 2.92, 640 * 10**9, 8 * _MIB),
    Target("gfx1100", "rx-7900-xtx", 32, 96, 2.5, 960 * 10**9, 6 * _MIB, matrix_cycles=32),
    Target("gfx1151", "strix-halo", 32, 40, 2.9, 256 * 10**9, 2 * _MIB, matrix_cycles=32),
    Target(
        "gfx942", "mi300x", 64, 304, 2.1, 5300 * 10**9, 4 * _MIB,
        lds_unit_bytes=64 * KIB, vgprs=512, vgpr_granule=8, max_vgprs=512, max_waves=8, matrix_cycles=16,
    ),
)  # fmt: skip

TARGETS: Final[MappingProxyType[str, Target]] = MappingProxyType({target.name: target for target in _ALL})


def target(name: str) -> Target:
    """The named target, or a `ValueError` that lists them."""
    if name not in TARGETS:
        raise ValueError(f"no target {name!r}; accepted: {', '.join(TARGETS)}")
    return TARGETS[name]
