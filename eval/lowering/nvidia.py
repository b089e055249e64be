"""NVIDIA: the CUDA plugin, which loads without a driver, cubins, and PTX in place of machine code."""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eval.lowering.code_object import KernelObject
from eval.lowering.cubin import read_cubin, split_cubins
from eval.lowering.machine_code import Instruction
from eval.lowering.ptx import entries, instructions_of
from eval.lowering.target import Target
from eval.lowering.vendor import Vendor, Words

_DRIVER: Final = "libcuda.so.1"
_KERNEL_CACHE: Final = "kernel-cache"


class Nvidia(Vendor):
    """Spills are remarks: the attention tile that is fastest on an H100 spills 144 bytes a thread."""

    platform = "cuda"
    packages = ("jax-cuda12-pjrt",)
    module = "jax_plugins.xla_cuda12"
    library = "xla_cuda_plugin.so"
    attention = "pallas"
    spills_are_faults = False
    words = Words(
        "tensor cores", "registers", "shared memory", "warps a scheduler", "stack a thread", "PTX instructions"
    )

    def identity(self, target: Target) -> str:
        major, minor = target.name.removeprefix("sm_")[:-1], target.name[-1]
        return f"""\
  cuda_compute_capability {{ major: {major} minor: {minor} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "{target.name}"
"""

    def missing(self, plugin: Path) -> tuple[str, ...]:
        try:
            ctypes.CDLL(_DRIVER)
        except OSError:
            return (_DRIVER,)
        return ()

    def evidence(self, missing: tuple[str, ...]) -> str:
        here = "no NVIDIA driver here: this can compile and cannot execute" if missing else "driver of this machine"
        return f"{here}; attention of a model is the portable kernel: neither cuDNN nor the one for Hopper is compiled"

    def flags(self, folder: Path, jaxlib: tuple[int, ...], *, keep_ir: bool) -> list[str]:
        """The cache of kernels is where XLA writes cubins uncompressed; before 0.11 it wants kernels apart."""
        apart = [
            "--xla_gpu_enable_llvm_module_compilation_parallelism=true",
            "--xla_gpu_force_compilation_parallelism=1",
        ]
        return [
            f"--xla_gpu_kernel_cache_file={folder / _KERNEL_CACHE}",
            "--xla_gpu_enable_cub_radix_sort=false",  # its scratch size is asked of the card
            *(apart if jaxlib < (0, 11) else ["--xla_dump_emitter_re=.*"]),
        ]

    def prepare(self, target: Target) -> None:
        """From jax 0.12 on, Pallas wants to know the capability of an absent GPU by its name."""
        try:
            gpu_info = importlib.import_module("jax._src.pallas.triton.gpu_info")
        except ImportError:
            return
        hopper = functools.partial(gpu_info.get_gpu_info_from_version, gpu_info.GpuVersion.H100)
        gpu_info.registry.setdefault(target.name, hopper)

    def collect(self, folder: Path) -> None:
        cache = folder / _KERNEL_CACHE
        for number, cubin in enumerate(split_cubins(cache.read_bytes()) if cache.exists() else ()):
            (folder / "kernels" / f"{number:03}.cubin").write_bytes(cubin)
        cache.unlink(missing_ok=True)

    def objects(self, folder: Path) -> Mapping[str, tuple[Path, KernelObject]]:
        found: dict[str, tuple[Path, KernelObject]] = {}
        for path in sorted((folder / "kernels").glob("*.cubin")):
            found.update((one.name, (path, one)) for one in read_cubin(path))
        return found

    def instructions(self, folder: Path, one: KernelObject) -> list[Instruction] | None:
        text = _ptx(folder).get(one.name)
        return None if text is None else instructions_of(text)

    def assembly(self, folder: Path, path: Path, one: KernelObject) -> str | None:
        return _ptx(folder).get(one.name)


@functools.lru_cache(maxsize=4)
def _ptx(folder: Path) -> Mapping[str, str]:
    """The PTX of each kernel of a compile, by name."""
    found: dict[str, str] = {}
    for path in sorted((folder / "dump").glob("*.ptx"), key=lambda path: path.stat().st_mtime_ns):
        found.update(entries(path.read_text()))
    return found


NVIDIA: Final = Nvidia()
