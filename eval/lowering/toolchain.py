"""What compiles: the installed plugin, the libraries under it, and the environment that its process needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eval.lowering.amd import AMD
from eval.lowering.vendor import Vendor

MATMUL_TILE: Final = "block_m:64,block_n:64,block_k:32,split_k:1,num_stages:1,num_warps:4,num_ctas:1"
"""Of XLA's own matrix products: autotuning needs the card, and trying every tile takes most of the compile."""

INSTALL: Final = "python3 -m venv .venv-lower && .venv-lower/bin/pip install -e '.[rocm-compile,cuda-compile]'"
"""In the project's folder.  Not beside the rest: with such a plugin jax looks for its GPU at every start."""


@dataclass(frozen=True)
class Toolchain:
    """The compiler plugin and what it is linked to.

    Attributes:
        vendor: whose GPUs it compiles for.
        plugin: the shared object.
        versions: of jax, jaxlib and the plugin.
        missing: the maker's libraries that this machine lacks.
        stubs: folder of the do-nothing libraries made in their place; None where none are needed.
    """

    vendor: Vendor
    plugin: Path
    versions: Mapping[str, str]
    missing: tuple[str, ...] = ()
    stubs: Path | None = None

    @property
    def can_execute(self) -> bool:
        return not self.missing

    @property
    def sentence(self) -> str:
        """What the reader of a report must know of it."""
        names = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{names}; {self.vendor.evidence(self.missing)}"

    def environment(self, folder: Path, *, keep_ir: bool = False) -> dict[str, str]:
        """The child's environment: `folder` takes what the compiler leaves, LLVM IR with it if `keep_ir`."""
        flags = [
            f"--xla_dump_to={folder / 'dump'}",
            "--xla_dump_hlo_module_re=^jit_lowered_program$",
            f"--xla_gpu_override_gemm_autotuner='{MATMUL_TILE}'",
            *self.vendor.flags(folder, _version(self.versions["jaxlib"]), keep_ir=keep_ir),
        ]
        own = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_FLAGS": " ".join(flags)}
        if self.stubs:
            searched = os.environ.get("LD_LIBRARY_PATH")
            own["LD_LIBRARY_PATH"] = str(self.stubs) + (f":{searched}" if searched else "")
        return dict(os.environ) | own | self.vendor.variables(folder)


def find_toolchain(vendor: Vendor = AMD) -> Toolchain:
    """The maker's plugin in this environment, with do-nothing libraries where it needs some that are missing.

    Raises `ValueError` with what to install where there is no plugin, one for another jaxlib, or no C compiler.
    """
    plugin, package = plugin_path(vendor), vendor.packages[0]
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", package)}
    if _version(versions["jaxlib"])[:3] != _version(versions[package])[:3]:
        wanted = ".".join(map(str, _version(versions["jaxlib"])[:3]))
        raise ValueError(
            f"the compiler plugin {package} {versions[package]} does not fit jaxlib {versions['jaxlib']}: "
            f"pip install {' '.join(f'{name}=={wanted}' for name in vendor.packages)}"
        )
    missing = vendor.missing(plugin)
    return Toolchain(vendor, plugin, versions, missing, vendor.stand_ins(plugin, missing))


def plugin_path(vendor: Vendor = AMD) -> Path:
    """The plugin's shared object, found without importing it: an import would look for a device."""
    try:
        spec = importlib.util.find_spec(vendor.module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(
            f"the {vendor.platform.upper()} compiler plugin is not in this environment, and wants one of its own: "
            f"{INSTALL}, and then .venv-lower/bin/prefillwall lower"
        )
    path = Path(spec.origin).with_name(vendor.library)
    if not path.exists():
        raise ValueError(f"{path} is missing: the compiler plugin is broken; {INSTALL} --force-reinstall")
    return path


def _version(text: str) -> tuple[int, ...]:
    parts = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        parts.append(int(part))
    return tuple(parts)
