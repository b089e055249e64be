"""What a person can act on: whether a kernel is sound on its target, what is wrong with it, and what it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from eval.lowering.compile import Compiled
from eval.lowering.kernel_parts import Part
from eval.lowering.kernel_programs import KernelProgram, launched_as
from eval.lowering.kernels import Kernel
from eval.lowering.target import Target
from eval.lowering.vendors import vendor_of

_TOO_MUCH_LDS = re.compile(r"requested (\d+), available:? (\d+)")
_HALVES = ("bf16", "f16")


@dataclass(frozen=True)
class Verdict:
    """`faults` are what must not be shipped, `remarks` what costs time; `made_of` says what the kernel is."""

    subject: str
    made_of: str
    faults: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        return not self.faults

    @property
    def sentence(self) -> str:
        words = [*self.faults, *([self.made_of] if self.made_of else []), *self.remarks]
        return f"{self.subject}: {', '.join(words)}"


def judge_kernel_program(compiled: Compiled, kernels: list[Kernel]) -> list[Verdict]:
    """The verdicts on the GPU kernels of one of the project's own programs, compiled alone.

    A product is in the matrix units if the matrix instructions of the inner loop do as many multiply-accumulates as it
    takes.
    """
    program, target = compiled.program, compiled.target
    assert isinstance(program, KernelProgram), program.title
    if compiled.error:
        return [Verdict(program.title, "", (refusal(compiled.error, target),))]
    found = judged(program, kernels)
    missing = [part.kernel for part in program.parts if part not in (known for known, _ in found)]
    return [
        *(_judge_part(program, part, kernel, target) for part, kernel in found),
        *(Verdict(program.title, "", (f"no kernel {name} was launched",)) for name in missing),
    ]


def judged(program: KernelProgram, kernels: Iterable[Kernel]) -> list[tuple[Part, Kernel]]:
    """The kernels that a program's parts became, by name."""
    return [(part, kernel) for part in program.parts for kernel in kernels if launched_as(part.kernel, kernel.name)]


def _judge_part(program: KernelProgram, part: Part, kernel: Kernel, target: Target) -> Verdict:
    faults, said, matrix = resource_faults(kernel, target), remarks(kernel, target), vendor_of(target).words.matrix
    subject, words = f"{program.title} ({kernel.name})", made_of(kernel, target)
    code = kernel.loop or kernel.whole
    if code is None:
        return Verdict(subject, words, tuple(faults), tuple(said))
    done = min(code.macs // part.macs_per_wave, part.products)
    if program.dtype in _HALVES and done < part.products:
        faults.append(f"{matrix} in {done} of {part.products} products of the inner loop")
    if done == part.products:
        words += f", {matrix} in both products" if part.products == 2 else f", {matrix} in every product"
    needed = part.products * part.macs_per_wave
    if needed < code.macs < 2 * needed:  # a loop unrolled twice does twice as many
        enough = code.matrix * needed // code.macs
        said.append(f"{code.matrix} matrix instructions where {enough} would do: fewer warps, or more rows and keys")
    return Verdict(subject, words, tuple(faults), tuple(said))


def judge(kernel: Kernel, target: Target) -> Verdict:
    """The verdict on a kernel of a whole program, most of which the compiler made by itself."""
    faults = resource_faults(kernel, target)
    if kernel.whole and not kernel.whole.matrix and set(kernel.products) & set(_HALVES):
        faults.append(f"a product of {'/'.join(kernel.products)} without {vendor_of(target).words.matrix}")
    subject = f"{kernel.component} ({kernel.name})"
    return Verdict(subject, made_of(kernel, target), tuple(faults), tuple(remarks(kernel, target)))


def resource_faults(kernel: Kernel, target: Target) -> list[str]:
    """Spills where they are faults, too much LDS, a workgroup that fits nowhere."""
    faults, vendor = [], vendor_of(target)
    if vendor.spills_are_faults:
        faults += _spilled(kernel, target)
    if kernel.lds_bytes > target.lds_bytes:
        faults.append(
            f"{kernel.lds_bytes:,} bytes of {vendor.words.shared} where a workgroup may have {target.lds_bytes:,}"
        )
    elif not kernel.waves:
        faults.append("a workgroup that does not fit the registers")
    return faults


def _spilled(kernel: Kernel, target: Target) -> list[str]:
    if not kernel.spills:
        return []
    words = vendor_of(target).words
    many = f"{kernel.vgpr_spills} {words.registers}" if kernel.vgpr_spills is not None else words.registers
    return [f"spills {many} to {kernel.scratch_bytes} bytes of {words.stack}"]


def remarks(kernel: Kernel, target: Target) -> list[str]:
    """What is sound and slow."""
    said, vendor = [], vendor_of(target)
    if not vendor.spills_are_faults:
        said += _spilled(kernel, target)
    if kernel.loop and kernel.loop.matrix and kernel.loop.narrow_lds_loads:
        said.append(f"{kernel.loop.narrow_lds_loads} {vendor.words.shared} loads of 16 bits in the inner loop")
    return said


def made_of(kernel: Kernel, target: Target) -> str:
    """Registers, LDS, waves, and how much of the inner loop is matrix work."""
    words = vendor_of(target).words
    made = [
        f"{kernel.vgprs} {words.registers}", *([] if kernel.spills else ["no spills"]),
        f"{kernel.lds_bytes / 1024:g} KiB {words.shared}", f"{kernel.waves} {words.waves}",
    ]  # fmt: skip
    code = kernel.loop or kernel.whole
    if code and code.matrix:
        where = "the inner loop" if kernel.loop else "the kernel"
        made.append(f"{words.matrix}: {code.matrix} of {code.instructions} {words.code} of {where}")
    return ", ".join(made)


def refusal(error: str, target: Target) -> str:
    """The compiler's refusal in a line."""
    found = _TOO_MUCH_LDS.search(error)
    if found:
        asked, limit = map(int, found.groups())
        shared = vendor_of(target).words.shared
        return f"too much {shared}: {asked:,} bytes where a workgroup of {target.name} may have {limit:,}"
    return f"the compiler refuses it: {error.splitlines()[0][:300]}"
