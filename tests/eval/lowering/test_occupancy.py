"""Waves of a SIMD against placing workgroups one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eval.lowering.occupancy import waves_per_simd
from eval.lowering.target import TARGETS, Target
from eval.lowering.vendors import vendor_of


def placed(target: Target, vgprs: int, lds_bytes: int, waves: int) -> int:
    """Workgroups placed one by one, each wave where most room is left."""
    granted = -(-max(vgprs, 1) // target.vgpr_granule) * target.vgpr_granule
    registers, slots, lds = [target.vgprs] * target.simds, [target.max_waves] * target.simds, target.lds_unit_bytes
    groups = 0
    while lds >= lds_bytes + target.reserved_lds_bytes and groups < target.max_groups:
        for _ in range(waves):
            simd = max(range(target.simds), key=lambda i: (slots[i] > 0 and registers[i] >= granted, registers[i]))
            if not slots[simd] or registers[simd] < granted:
                return groups
            registers[simd] -= granted
            slots[simd] -= 1
        lds -= lds_bytes + target.reserved_lds_bytes
        groups += 1
    return groups


@given(
    st.sampled_from(sorted(TARGETS)), st.integers(1, 256), st.sampled_from((0, 512, 8192, 16_384, 40_000, 65_536)),
    st.sampled_from((4, 8, 16)),
)  # fmt: skip
def test_it_is_what_placing_workgroups_gives(name: str, vgprs: int, lds_bytes: int, waves: int) -> None:
    target = TARGETS[name]
    groups = placed(target, vgprs, lds_bytes, waves)
    found = waves_per_simd(target, vgprs, lds_bytes, waves * target.lanes)
    assert found == groups * waves // target.simds


def test_what_does_not_fit_has_no_wave() -> None:
    target = TARGETS["gfx1201"]
    assert waves_per_simd(target, 64, target.lds_bytes + 1, 128) == 0
    assert waves_per_simd(target, 256, 0, 1024) == 0  # 32 waves of 264 registers: 5 fit on each of 4 SIMDs


def test_the_text_that_the_compiler_reads_names_the_target() -> None:
    for name, target in TARGETS.items():
        text = vendor_of(target).config_text(target)
        assert f'device_description_str: "{name}"' in text
        assert f"shared_memory_per_block_optin: {target.lds_bytes}" in text
        assert text.count("{") == text.count("}")
    assert 'gcn_arch_name: "gfx1201"' in vendor_of(TARGETS["gfx1201"]).config_text(TARGETS["gfx1201"])
    assert "major: 9 minor: 0" in vendor_of(TARGETS["sm_90"]).config_text(TARGETS["sm_90"])


def test_an_h100_is_what_its_maker_says() -> None:
    """65,536 registers and 64 warps a multiprocessor; 228 KiB of shared memory, 1 KiB of it taken by each block."""
    target = TARGETS["sm_90"]
    assert target.vgprs * target.lanes * target.simds == 65_536 and target.max_waves * target.simds == 64
    assert waves_per_simd(target, 32, 0, 64) == 16  # 32 blocks of 2 warps
    assert waves_per_simd(target, 32, 0, 32) == 8  # 32 blocks of 1: no more blocks
    assert waves_per_simd(target, 128, 113 * 1024, 128) == 2  # two blocks of 113 + 1 KiB
    assert waves_per_simd(target, 128, 113 * 1024 + 1, 128) == 1
