"""What a person can act on: whether a kernel is sound on its target, what is wrong with it, and what it is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eval.lowering.compile import Compiled
from eval.lowering.kernel_programs import KernelProgram, Part
from eval.lowering.kernels import Kernel
from eval.lowering.target import Target

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

    A product is in the matrix units if the inner loop holds the matrix instructions that it takes: the
    multiply-accumulates of a wave over 16³.
    """
    program, target = compiled.program, compiled.target
    if compiled.error:
        return [Verdict(program.title, "", (refusal(compiled.error, target),))]
    made = []
    for part in program.parts:
        own = [kernel for kernel in kernels if re.fullmatch(part.kernel + r"(_+\d+)?", kernel.name)]
        if not own:
            made.append(Verdict(program.title, "", (f"no kernel {part.kernel} was launched",)))
        made += [_judge_part(program, part, kernel, target) for kernel in own]
    return made


def _judge_part(program: KernelProgram, part: Part, kernel: Kernel, target: Target) -> Verdict:
    faults = resource_faults(kernel, target)
    code = kernel.loop or kernel.whole
    if code is None:
        return Verdict(program.title, made_of(kernel), tuple(faults))
    done = min(code.matrix // part.matrix_per_product, part.products)
    if program.dtype in _HALVES and done < part.products:
        faults.append(f"WMMA in {done} of {part.products} products of the inner loop")
    words = made_of(kernel)
    if done == part.products:
        words += ", WMMA in both products" if part.products == 2 else ", WMMA in every product"
    said, needed = remarks(kernel), part.products * part.matrix_per_product
    if needed < code.matrix < 2 * needed:  # a loop unrolled twice has twice as many
        said.append(f"{code.matrix} matrix instructions where {needed} would do: fewer warps, or more rows and keys")
    return Verdict(f"{program.title} ({kernel.name})", words, tuple(faults), tuple(said))


def judge(kernel: Kernel, target: Target) -> Verdict:
    """The verdict on a kernel of a whole program, most of which the compiler made by itself."""
    faults = resource_faults(kernel, target)
    if kernel.whole and not kernel.whole.matrix and set(kernel.products) & set(_HALVES):
        faults.append(f"a product of {'/'.join(kernel.products)} without WMMA")
    subject = f"{kernel.component} ({kernel.name})"
    return Verdict(subject, made_of(kernel), tuple(faults), tuple(remarks(kernel)))


def resource_faults(kernel: Kernel, target: Target) -> list[str]:
    """Spills, too much LDS, a workgroup that fits nowhere."""
    faults = []
    if kernel.spills:
        faults.append(f"spills {kernel.vgpr_spills} VGPRs to {kernel.scratch_bytes} bytes of scratch a lane")
    if kernel.lds_bytes > target.lds_bytes:
        faults.append(f"{kernel.lds_bytes:,} bytes of LDS where a workgroup may have {target.lds_bytes:,}")
    elif not kernel.waves:
        faults.append("a workgroup that does not fit the registers")
    return faults


def remarks(kernel: Kernel) -> list[str]:
    """What is sound and slow."""
    if kernel.loop and kernel.loop.matrix and kernel.loop.narrow_lds_loads:
        return [f"{kernel.loop.narrow_lds_loads} LDS loads of 16 bits in the inner loop"]
    return []


def made_of(kernel: Kernel) -> str:
    """Registers, LDS, waves, and how much of the inner loop is matrix work."""
    words = [
        f"{kernel.vgprs} VGPRs", *([] if kernel.spills else ["no spills"]), f"{kernel.lds_bytes / 1024:g} KiB LDS",
        f"{kernel.waves} waves a SIMD",
    ]  # fmt: skip
    code = kernel.loop or kernel.whole
    if code and code.matrix:
        where = "the inner loop" if kernel.loop else "the kernel"
        words.append(f"WMMA is {code.matrix} of {code.instructions} instructions of {where}")
    return ", ".join(words)


def refusal(error: str, target: Target) -> str:
    """The compiler's refusal in a line."""
    found = _TOO_MUCH_LDS.search(error)
    if found:
        asked, limit = map(int, found.groups())
        return f"too much LDS: {asked:,} bytes where a workgroup of {target.name} may have {limit:,}"
    return f"the compiler refuses it: {error.splitlines()[0][:300]}"
