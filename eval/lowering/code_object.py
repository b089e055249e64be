"""What the compiler wrote into a code object: registers, spills, LDS, arguments, and the machine code.

An AMD GPU code object is an ELF file whose note NT_AMDGPU_METADATA holds a msgpack map (LLVM's "User Guide for AMDGPU
Backend", code object V5); `amdhsa.kernels` lists the kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_NOTE_TYPE: Final = 32  # NT_AMDGPU_METADATA


@dataclass(frozen=True)
class Argument:
    """One argument of a kernel: where in the argument buffer it lies, in bytes, and what it is."""

    offset: int
    size: int
    kind: str
    access: str


@dataclass(frozen=True)
class KernelObject:
    """A kernel as its code object describes it; counts of registers are per lane (vector) and per wave (scalar).

    Attributes:
        sgprs, vgpr_spills, sgpr_spills: None where the code object does not say.
        scratch_bytes: private memory per lane, where spilled registers go.
        lds_bytes: known when it was compiled; a launch may add to it.
        whole_processor: a workgroup may use both compute units of a work-group processor.
        code: its machine code.
    """

    name: str
    arch: str
    vgprs: int
    sgprs: int | None
    vgpr_spills: int | None
    sgpr_spills: int | None
    scratch_bytes: int
    lds_bytes: int
    lanes: int
    max_threads: int
    argument_bytes: int
    whole_processor: bool
    arguments: tuple[Argument, ...]
    code: bytes


def read_code_object(path: Path) -> list[KernelObject]:
    """The kernels of a code object; none for one that holds only constants.

    Raises `ValueError` for a file that is no code object.
    """
    import msgpack
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
        except ELFError as error:
            raise ValueError(f"{path}: not an ELF file ({error})") from error
        segments: Iterable[Any] = elf.iter_segments("PT_NOTE")
        notes = [
            note
            for segment in segments
            for note in segment.iter_notes()
            if note["n_name"] == "AMDGPU" and note["n_type"] in (_NOTE_TYPE, "NT_AMDGPU_METADATA")
        ]
        if not notes:
            raise ValueError(f"{path}: no AMDGPU metadata, so no code object")
        metadata = msgpack.unpackb(notes[0]["n_descdata"])
        gfx = metadata["amdhsa.target"].rpartition("-")[2].partition(":")[0]
        return [_kernel(one, gfx, _code(elf, one[".name"])) for one in metadata.get("amdhsa.kernels", ())]


def _kernel(one: dict[str, Any], gfx: str, code: bytes) -> KernelObject:
    arguments = tuple(
        Argument(a[".offset"], a[".size"], a[".value_kind"], a.get(".actual_access", a.get(".access", "")))
        for a in one.get(".args", ())
    )
    return KernelObject(
        one[".name"], gfx, one[".vgpr_count"], one[".sgpr_count"], one[".vgpr_spill_count"], one[".sgpr_spill_count"],
        one[".private_segment_fixed_size"], one[".group_segment_fixed_size"], one[".wavefront_size"],
        one[".max_flat_workgroup_size"], one[".kernarg_segment_size"],
        bool(one.get(".workgroup_processor_mode", 0)), arguments, code,
    )  # fmt: skip


def _code(elf: Any, name: str) -> bytes:
    symbol = elf.get_section_by_name(".symtab").get_symbol_by_name(name)[0]
    section = elf.get_section(symbol["st_shndx"])
    start = symbol["st_value"] - section["sh_addr"]
    return section.data()[start : start + symbol["st_size"]]
