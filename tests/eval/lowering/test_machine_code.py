"""Lengths and kinds against instructions that a disassembler named, and the loops found in them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.lowering.loops import inner_loop, innermost_loops, summarise
from eval.lowering.machine_code import MACS_OF_WMMA, Instruction, decode, listing

# (words, kind, bits) of gfx12 instructions, as llvm-objdump names them in the comment.
GFX12 = {
    "v_lshlrev_b32_e32 v0, 4, v0": ((0x30000084,), "vector", 0),
    "v_and_b32_e32 v0, 0x70, v0": ((0x360000FF, 0x00000070), "vector", 0),
    "v_and_b32_e32 v49, 0xffff0000, v96": ((0x3662C0FF, 0xFFFF0000), "vector", 0),
    "s_wait_loadcnt 0x17": ((0xBFC00017,), "wait", 0),
    "s_clause 0x1": ((0xBF850001,), "wait", 0),
    "buffer_load_b128 v[1:4], v169, s[8:11], null offen": ((0xC405C07C, 0x40801001, 0x000000A9), "memory", 0),
    "v_wmma_f32_16x16x16_f16": ((0xCC400000, 0x1C020000), "matrix", 0),
    "ds_load_b128 v[0:3], v0": ((0xDBFC0000, 0x00000000), "lds_load", 128),
    "ds_load_u16_d16 v0, v0": ((0xDA980000, 0x00000000), "lds_load", 16),
    "ds_store_b128 v0, v[0:3]": ((0xDB7C0000, 0x00000000), "lds_store", 0),
    "s_mov_b32 s0, 0x12345678": ((0xBE8000FF, 0x12345678), "scalar", 0),
    "s_mov_b32 s0, 1": ((0xBE800081,), "scalar", 0),
    "s_add_co_i32 s0, s0, 0x12345678": ((0x8100FF00, 0x12345678), "scalar", 0),
    "s_movk_i32 s0, 0x1234": ((0xB0001234,), "scalar", 0),
    "s_load_b64 s[0:1], s[0:1], 0x0": ((0xF4002000, 0xF8000000), "scalar", 0),
    "v_fmac_f32_e64": ((0xD52B0000, 0x00020300), "vector", 0),
}  # fmt: skip


@given(st.lists(st.sampled_from(sorted(GFX12)), max_size=12))
def test_a_stream_of_known_instructions_is_found_again(names: list[str]) -> None:
    expected, words = [], []
    for name in names:
        code, kind, bits = GFX12[name]
        expected.append(Instruction(4 * len(words), kind, bits, macs=MACS_OF_WMMA if kind == "matrix" else 0))
        words += code
    assert decode(struct.pack(f"<{len(words)}I", *words), "gfx1201") == expected


def test_a_branch_says_where_it_goes() -> None:
    back, ahead = 0xBFA00000 | 0xFFFD, 0xBFA10001  # s_branch -3 words, s_cbranch_scc0 +1 word, from the next one
    code = struct.pack("<4I", 0xBE800081, 0xBE800081, back, ahead)
    assert [one.target for one in decode(code, "gfx1201")] == [None, None, 0, 20]


def test_a_listing_holds_every_word_once() -> None:
    words = (0xBE800081, 0x3662C0FF, 0xFFFF0000, 0xBFA00000 | 0xFFFC, 0xBFB00000)
    code = struct.pack("<5I", *words)
    lines = listing(code, decode(code, "gfx1201")).splitlines()
    assert [word for line in lines for word in line.split() if len(word) == 8] == [f"{word:08x}" for word in words]
    assert lines[1].startswith("0x0004  vector") and lines[2].endswith("-> 0x0000")


def test_a_word_of_no_format_is_refused() -> None:
    with pytest.raises(ValueError, match="byte 4: 0xffffffff belongs to no instruction format"):
        decode(struct.pack("<2I", 0xBE800081, 0xFFFFFFFF), "gfx1201")


def test_memory_instructions_are_shorter_on_gfx11() -> None:
    load = struct.pack("<2I", 0xDC520000, 0x007C0000)  # global_load_b32
    assert decode(load, "gfx1100") == [Instruction(0, "memory")]
    with pytest.raises(ValueError, match="no instruction format"):
        decode(load, "gfx1201")


def test_other_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gfx942 is not read; of gfx11\.\. and gfx12\.\."):
        decode(b"", "gfx942")


def test_the_inner_loop_is_the_innermost_one_with_most_matrix_work() -> None:
    """
    0      scalar
    4      |  vector
    8      |  |  matrix
    12     |  |  lds_load, 16 bits
    16     |  |  branch to 8
    20     |  branch to 4
    24     |  vector
    28     |  branch to 24
    32     branch ahead to 40: no loop
    """
    code = [
        Instruction(0, "scalar"), Instruction(4, "vector"), Instruction(8, "matrix", macs=7),
        Instruction(12, "lds_load", 16),
        Instruction(16, "branch", target=8), Instruction(20, "branch", target=4), Instruction(24, "vector"),
        Instruction(28, "branch", target=24), Instruction(32, "branch", target=40),
    ]  # fmt: skip
    loops = innermost_loops(code)
    assert [loop.instructions for loop in loops] == [3, 2]
    chosen = inner_loop(code)
    assert (chosen.matrix, chosen.narrow_lds_loads, chosen.matrix_share) == (1, 1, 1 / 3)
    assert (summarise(code).matrix, chosen.macs) == (1, 7)
    assert inner_loop(code[:4]) is None


def test_branches_back_to_one_place_are_one_loop() -> None:
    branches = [Instruction(place, "branch", target=4) for place in (8, 16)]
    code = [Instruction(0, "scalar"), Instruction(4, "vector"), branches[0], Instruction(12, "matrix"), branches[1]]
    for one in (code, code[::-1]):
        assert [(loop.instructions, loop.matrix) for loop in innermost_loops(one)] == [(4, 1)]
