"""What compiles: the installed plugin, the ROCm libraries under it, and the environment that its process needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eval.lowering.stubs import missing_libraries, stub_folder

EXTRA: Final = "pip install 'prefillwall[rocm-compile]'"
_PLUGIN: Final = "jax_plugins.xla_rocm7"

MATMUL_TILE: Final = "block_m:64,block_n:64,block_k:32,split_k:1,num_stages:1,num_warps:4,num_ctas:1"
"""Of XLA's own matrix products: autotuning needs the card, and trying every tile takes most of the compile."""


@dataclass(frozen=True)
class Toolchain:
    """The compiler plugin and what it is linked to.

    Attributes:
        plugin: the shared object.
        versions: of jax, jaxlib and the plugin.
        missing: ROCm libraries that this machine lacks.
        stubs: folder of the do-nothing libraries made in their place; None where ROCm is installed.
    """

    plugin: Path
    versions: Mapping[str, str]
    missing: tuple[str, ...] = ()
    stubs: Path | None = None

    @property
    def can_execute(self) -> bool:
        return self.stubs is None

    @property
    def sentence(self) -> str:
        """What the reader of a report must know of it."""
        names = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        if self.can_execute:
            return f"{names}; ROCm of this machine"
        return (
            f"{names}; no ROCm here: {len(self.missing)} do-nothing libraries stand in for it, which can compile and "
            "cannot execute"
        )

    def environment(self, folder: Path, *, keep_ir: bool = False) -> dict[str, str]:
        """The child's environment: `folder` takes what the compiler leaves, LLVM IR with it if `keep_ir`."""
        flags = [
            f"--xla_dump_to={folder / 'dump'}",
            "--xla_dump_hlo_module_re=^jit_lowered_program$",
            f"--xla_gpu_override_gemm_autotuner='{MATMUL_TILE}'",
        ]
        if keep_ir and _version(self.versions["jaxlib"]) >= (0, 11):  # before, it always comes
            flags.append("--xla_dump_emitter_re=.*")
        own = {
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_XLA_HSACO_CACHE_DIR": str(folder / "kernels"),
            "TF_XLA_HSACO_BITCODE_SIZE_THRESHOLD": "0",
            "XLA_FLAGS": " ".join(flags),
        }
        if self.stubs:
            searched = os.environ.get("LD_LIBRARY_PATH")
            own["LD_LIBRARY_PATH"] = str(self.stubs) + (f":{searched}" if searched else "")
        return dict(os.environ) | own


def find_toolchain() -> Toolchain:
    """The plugin of this environment, with do-nothing libraries where ROCm is missing.

    Raises `ValueError` with what to install where there is no plugin, one for another jaxlib, or no C compiler.
    """
    plugin = plugin_path()
    versions = {
        "jax": importlib.metadata.version("jax"),
        "jaxlib": importlib.metadata.version("jaxlib"),
        "jax-rocm7-pjrt": importlib.metadata.version("jax-rocm7-pjrt"),
    }
    if _version(versions["jaxlib"])[:3] != _version(versions["jax-rocm7-pjrt"])[:3]:
        wanted = ".".join(map(str, _version(versions["jaxlib"])[:3]))
        raise ValueError(
            f"the compiler plugin jax-rocm7-pjrt {versions['jax-rocm7-pjrt']} does not fit jaxlib "
            f"{versions['jaxlib']}: pip install jax-rocm7-pjrt=={wanted} jax-rocm7-plugin=={wanted}"
        )
    missing = tuple(missing_libraries(plugin))
    return Toolchain(plugin, versions, missing, stub_folder(plugin, missing) if missing else None)


def plugin_path() -> Path:
    """The plugin's shared object, found without importing it: an import would look for a device."""
    try:
        spec = importlib.util.find_spec(_PLUGIN)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(f"the ROCm compiler plugin is not installed: {EXTRA}")
    path = Path(spec.origin).with_name("xla_rocm_plugin.so")
    if not path.exists():
        raise ValueError(f"{path} is missing: the ROCm compiler plugin is broken; {EXTRA} --force-reinstall")
    return path


def _version(text: str) -> tuple[int, ...]:
    parts = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        parts.append(int(part))
    return tuple(parts)
