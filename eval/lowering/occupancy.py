"""How many waves a SIMD can hold of a kernel: what its registers and its LDS leave room for."""

from __future__ import annotations

import math

from eval.lowering.target import Target


def waves_per_simd(target: Target, vgprs: int, lds_bytes: int, threads: int) -> int:
    """min of the waves that fit by registers, by LDS and by the hardware's limit; 0 if a workgroup fits nowhere.

    A wave is NVIDIA's warp, a workgroup its block, LDS its shared memory.  Registers are given out in steps of
    `vgpr_granule`.  A workgroup's LDS comes from what `simds` SIMDs share, and all its waves run together, spread over
    these SIMDs.
    """
    granted = max(1, math.ceil(vgprs / target.vgpr_granule)) * target.vgpr_granule
    by_registers = target.vgprs // granted
    waves = math.ceil(threads / target.lanes)
    taken = lds_bytes + target.reserved_lds_bytes
    groups = min(target.max_groups, target.lds_unit_bytes // taken if taken else math.inf)
    slots = min(by_registers, target.max_waves) * target.simds
    if lds_bytes > target.lds_bytes or waves > slots:
        return 0
    resident = min(groups, slots // waves) * waves
    return max(1, int(resident // target.simds))
