"""The kernels of a compiled program: code object, launch, and the part of the model that each belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.cost.flops.hlo import Instruction, Module
from eval.cost.flops.model_program import component_of
from eval.lowering.code_object import Argument, KernelObject
from eval.lowering.loops import Code, inner_loop, summarise
from eval.lowering.machine_code import Instruction as CodeInstruction
from eval.lowering.occupancy import waves_per_simd
from eval.lowering.target import Target
from eval.lowering.vendors import vendor_of

_TRITON_NAME = re.compile(r'\bname = "([^"]+)"')
_ARRAY = re.compile(r"\w+\[[\d,]*\]")
_LAUNCH = re.compile(r"(\S+) grid: \[(\d+), (\d+), (\d+)\] threads: \[(\d+), (\d+), (\d+)\] +shared_memory: (\d+)")


@dataclass(frozen=True)
class Launch:
    """Workgroups, threads of each, and the LDS that the launch adds to what the code object asks for."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    lds_bytes: int


@dataclass(frozen=True)
class Origin:
    """The instruction that a kernel was made from.

    Attributes:
        scope: path of scopes and calls, "" where the compiler kept none.
        products: element types of the left operands of its matrix products.
        buffers: its operands and then its results, as `name type[shape]`.
        grid: that its text gives; only Triton's calls do.
    """

    scope: str = ""
    products: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    grid: tuple[int, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """One kernel, ready to be judged.

    Attributes:
        component: of the model, as the cost tables name it, or "other".
        products: element types of the matrix products that it was made for.
        buffers: what its arguments are, in their order; empty where the compiler merged or added some.
        sgprs, vgpr_spills, sgpr_spills: None where the code object does not say, as NVIDIA's does not.
        scratch_bytes: per lane, where spilled registers go and arrays that were given no register.
        lds_bytes: per workgroup, launch included.
        waves: per SIMD, at most.
        whole, loop: all of its machine code (PTX, on NVIDIA), and its inner loop; None where the code is of an
            architecture that is not read, and `loop` where it has none.
        file: of the code object.
    """

    name: str
    component: str
    scope: str
    products: tuple[str, ...]
    vgprs: int
    sgprs: int | None
    vgpr_spills: int | None
    sgpr_spills: int | None
    scratch_bytes: int
    lds_bytes: int
    lanes: int
    waves: int
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    buffers: tuple[str, ...]
    arguments: tuple[Argument, ...]
    argument_bytes: int
    whole: Code | None
    loop: Code | None
    file: str

    @property
    def spills(self) -> bool:
        return bool(self.vgpr_spills or self.scratch_bytes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_kernels(folder: Path, module: Module, target: Target) -> list[Kernel]:
    """The kernels that a compile left in `folder`, in the order of their launches."""
    vendor = vendor_of(target)
    objects = vendor.objects(folder)
    origins = read_origins(module)
    made = []
    for name, launch in read_launches(next((folder / "dump").glob("*thunk_sequence.txt")).read_text()).items():
        if name in objects:
            path, one = objects[name]
            code = vendor.instructions(folder, one)
            made.append(_kernel(one, code, launch, _origin(origins, name, launch), target, path.name))
    return made


def read_launches(text: str) -> dict[str, Launch]:
    """The launch of each kernel, from XLA's printed sequence of thunks."""
    launches: dict[str, Launch] = {}
    for found in _LAUNCH.finditer(text):
        x, y, z, *block, shared = map(int, found.groups()[1:])
        launches.setdefault(found[1], Launch((x, y, z), (block[0], block[1], block[2]), shared))
    return launches


def read_origins(module: Module) -> Mapping[str, list[Origin]]:
    """The instructions that kernels are called after: dots become underscores; Triton's kernels bring their name."""
    origins: dict[str, list[Origin]] = {}
    for instructions in module.computations.values():
        for one in instructions.values():
            if one.opcode in ("parameter", "constant", "get-tuple-element", "tuple", "bitcast"):
                continue
            named = _TRITON_NAME.search(one.rest) if "__gpu$xla.gpu.triton" in one.rest else None
            inputs = [f"{name} {_shape(instructions[name])}" for name in one.operands if name in instructions]
            buffers = (*inputs, *(f"result {shape}" for shape in _ARRAY.findall(one.shape)))
            products = tuple(_products(module, one.named("calls")))
            grid = tuple(int(size) for size in re.findall(r"grid_[xyz] = (\d+)", one.rest)) if named else ()
            name = named[1] if named else re.sub(r"\W", "_", one.name)
            scope = one.op_name or _scope_inside(module, one)
            origins.setdefault(name, []).append(Origin(scope, products, buffers, grid))
    return origins


def _origin(origins: Mapping[str, list[Origin]], name: str, launch: Launch) -> Origin:
    """That of a kernel; of several calls of one Triton kernel, which XLA numbers, the one with the same grid."""
    candidates = origins.get(name) or origins.get(re.sub(r"_+\d+$", "", name), [])
    same = [one for one in candidates if not one.grid or one.grid == launch.grid]
    return next(iter(same or candidates), Origin())


def _scope_inside(module: Module, one: Instruction) -> str:
    """The scope of the first instruction of a fusion that has one."""
    names = (inner.op_name for called in one.named("calls") for inner in module.computations[called].values())
    return next(filter(None, names), "")


def _shape(one: Instruction) -> str:
    found = _ARRAY.search(one.shape)
    return found[0] if found else one.shape


def _products(module: Module, computations: list[str]) -> list[str]:
    """Element types of the left operands of the products in these computations and in what they call."""
    found = []
    for name in computations:
        instructions = module.computations[name]
        for one in instructions.values():
            if one.opcode == "dot" and one.operands[0] in instructions:
                found.append(instructions[one.operands[0]].shape.partition("[")[0])
            found += _products(module, one.named("calls"))
    return found


def _kernel(
    one: KernelObject, code: list[CodeInstruction] | None, launch: Launch, origin: Origin, target: Target, file: str
) -> Kernel:
    threads = launch.block[0] * launch.block[1] * launch.block[2]
    lds_bytes = one.lds_bytes + launch.lds_bytes
    buffers = origin.buffers if len(origin.buffers) == len(one.arguments) else ()
    return Kernel(
        one.name, _component(origin.scope), origin.scope, origin.products, one.vgprs, one.sgprs, one.vgpr_spills,
        one.sgpr_spills, one.scratch_bytes, lds_bytes, one.lanes, waves_per_simd(target, one.vgprs, lds_bytes, threads),
        launch.grid, launch.block, buffers, one.arguments, one.argument_bytes,
        summarise(code) if code else None, inner_loop(code) if code else None, file,
    )  # fmt: skip


def _component(scope: str) -> str:
    """That of the cost tables, or "other": norms, rotary positions, the cache."""
    found = component_of(scope)
    return found if found != scope else "other"
