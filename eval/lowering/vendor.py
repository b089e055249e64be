"""What differs between makers of GPUs, in one place: their plugin, its environment, their code objects, their words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eval.lowering.code_object import KernelObject
from eval.lowering.machine_code import Instruction
from eval.lowering.target import Target


@dataclass(frozen=True)
class Words:
    """What a maker calls the parts of its GPUs."""

    matrix: str
    registers: str
    shared: str
    waves: str
    stack: str
    code: str = "instructions"


class Vendor(ABC):
    """One maker, whose plugin compiles for its cards without them.

    Attributes:
        platform: what jax calls it.
        packages: the wheels; the version of each must be jaxlib's.
        module, library: the plugin package, and the shared object in it.
        attention: implementation in the model that can be compiled without the card.
        spills_are_faults: whether a spill is a fault, or a remark.
    """

    platform: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    module: ClassVar[str]
    library: ClassVar[str]
    attention: ClassVar[str]
    spills_are_faults: ClassVar[bool]
    words: ClassVar[Words]

    @abstractmethod
    def identity(self, target: Target) -> str:
        """The maker's own lines of the configuration that XLA compiles by."""

    def config_text(self, target: Target) -> str:
        """The text-format `GpuTargetConfigProto` of a target that XLA compiles by.

        The memory is given as boundless: told of a card that bf16 weights do not fit, XLA computes half of the
        projections twice to save some.  Whether a program fits is said by the report.
        """
        registers = target.vgprs * target.lanes * target.simds
        return f"""\
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: {target.lanes}
  shared_memory_per_block: {target.plain_lds_bytes}
  shared_memory_per_core: {target.core_lds_bytes}
  shared_memory_per_block_optin: {target.lds_bytes}
  threads_per_core_limit: {target.max_waves * target.lanes * 4}
  core_count: {target.compute_units}
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {target.bandwidth_bytes_per_s}
  l2_cache_size: {target.l2_bytes}
  clock_rate_ghz: {target.clock_ghz}
  device_memory_size: {2**44}
  registers_per_core_limit: {registers}
  registers_per_block_limit: {registers}
{self.identity(target)}"""

    @abstractmethod
    def missing(self, plugin: Path) -> tuple[str, ...]:
        """Libraries of the maker's that this machine lacks; with any of them missing nothing can run here."""

    def stand_ins(self, plugin: Path, missing: tuple[str, ...]) -> Path | None:
        """A folder of do-nothing libraries that the plugin needs in their place; None if it loads without."""
        return None

    @abstractmethod
    def evidence(self, missing: tuple[str, ...]) -> str:
        """What stands behind the figures, for the reader of a report."""

    @abstractmethod
    def flags(self, folder: Path, jaxlib: tuple[int, ...], *, keep_ir: bool) -> list[str]:
        """XLA's flags, so that it leaves in `folder` what `objects` reads."""

    def variables(self, folder: Path) -> dict[str, str]:
        """Environment variables beside `XLA_FLAGS`, to the same end."""
        return {}

    def prepare(self, target: Target) -> None:  # noqa: B027
        """In the compiling process, before anything is lowered."""

    def collect(self, folder: Path) -> None:  # noqa: B027
        """In the compiling process, afterwards: one file per code object under `folder / "kernels"`."""

    @abstractmethod
    def objects(self, folder: Path) -> Mapping[str, tuple[Path, KernelObject]]:
        """The code object of each kernel that a compile left in `folder`, by name."""

    @abstractmethod
    def instructions(self, folder: Path, one: KernelObject) -> list[Instruction] | None:
        """Those of a kernel, None where the code is of an architecture that is not read."""

    @abstractmethod
    def assembly(self, folder: Path, path: Path, one: KernelObject) -> str | None:
        """A kernel as text for people, None where there is no way to write it."""
