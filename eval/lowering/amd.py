"""AMD: the ROCm plugin, do-nothing libraries where ROCm is missing, HSA code objects, RDNA machine code."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eval.lowering.code_object import KernelObject, read_code_object
from eval.lowering.machine_code import Instruction, decode, listing
from eval.lowering.stubs import missing_libraries, stub_folder
from eval.lowering.target import Target
from eval.lowering.vendor import Vendor, Words


class Amd(Vendor):
    platform = "rocm"
    packages = ("jax-rocm7-pjrt", "jax-rocm7-plugin")
    module = "jax_plugins.xla_rocm7"
    library = "xla_rocm_plugin.so"
    attention = "auto"
    spills_are_faults = True
    words = Words("WMMA", "VGPRs", "LDS", "waves a SIMD", "scratch a lane")

    def identity(self, target: Target) -> str:
        """Pallas takes the architecture from `device_description_str`; XLA ships no configuration of gfx1201."""
        return f"""\
  rocm_compute_capability {{ gcn_arch_name: "{target.name}" }}
}}
platform_name: "ROCM"
runtime_version {{ major: 7 minor: 2 patch: 0 }}
dnn_version_info {{ major: 3 minor: 5 patch: 0 }}
device_description_str: "{target.name}"
"""

    def missing(self, plugin: Path) -> tuple[str, ...]:
        return tuple(missing_libraries(plugin))

    def stand_ins(self, plugin: Path, missing: tuple[str, ...]) -> Path | None:
        return stub_folder(plugin, missing) if missing else None

    def evidence(self, missing: tuple[str, ...]) -> str:
        if not missing:
            return "ROCm of this machine"
        return (
            f"no ROCm here: {len(missing)} do-nothing libraries stand in for it, which can compile and cannot execute"
        )

    def flags(self, folder: Path, jaxlib: tuple[int, ...], *, keep_ir: bool) -> list[str]:
        return ["--xla_dump_emitter_re=.*"] if keep_ir and jaxlib >= (0, 11) else []  # before, LLVM IR always comes

    def variables(self, folder: Path) -> dict[str, str]:
        return {"TF_XLA_HSACO_CACHE_DIR": str(folder / "kernels"), "TF_XLA_HSACO_BITCODE_SIZE_THRESHOLD": "0"}

    def objects(self, folder: Path) -> Mapping[str, tuple[Path, KernelObject]]:
        """The last one written of each, for XLA compiles candidates before it chooses."""
        found: dict[str, tuple[Path, KernelObject]] = {}
        for path in sorted((folder / "kernels").glob("*.hsaco"), key=lambda path: path.stat().st_mtime_ns):
            found.update((one.name, (path, one)) for one in read_code_object(path))
        return found

    def instructions(self, folder: Path, one: KernelObject) -> list[Instruction] | None:
        return decode(one.code, one.arch) if one.arch[:5] in ("gfx11", "gfx12") else None

    def assembly(self, folder: Path, path: Path, one: KernelObject) -> str | None:
        """By a disassembler that knows the architecture, else words of machine code with the kind of each."""
        named = _disassembled(path, one)
        instructions = None if named else self.instructions(folder, one)
        return named if instructions is None else listing(one.code, instructions)


def _disassembled(path: Path, one: KernelObject) -> str | None:
    """What `llvm-objdump` of ROCm or of this machine makes of a kernel; older ones do not know gfx12."""
    for tool in ("/opt/rocm/llvm/bin/llvm-objdump", "llvm-objdump"):
        if not shutil.which(tool):
            continue
        words = [tool, "--disassemble", f"--mcpu={one.arch}", f"--disassemble-symbols={one.name}", str(path)]
        ran = subprocess.run(words, capture_output=True, text=True, check=False)
        if not ran.returncode and not ran.stderr and f"<{one.name}>:" in ran.stdout:
            return ran.stdout
    return None


AMD: Final = Amd()
