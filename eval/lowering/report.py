"""What `prefillwall lower` says: one record as JSON, and the tables that people read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eval.cost.cards import card
from eval.cost.flops.formats import weight_bytes
from eval.cost.flops.hlo import parse_hlo
from eval.cost.prediction import Occupancy, Predicted, Range
from eval.lowering import compile as compiling
from eval.lowering.compile import Compiled
from eval.lowering.kernel_programs import KernelProgram, is_own
from eval.lowering.kernels import Kernel, read_kernels
from eval.lowering.programs import ModelProgram
from eval.lowering.target import TARGETS, Target
from eval.lowering.toolchain import Toolchain
from eval.lowering.vendors import vendor_of
from eval.lowering.verdict import Verdict, judge, judge_kernel_program, judged, refusal
from eval.report.number_format import duration, size
from eval.report.table import Table

QUANTISED = "4.5bit"


@dataclass(frozen=True)
class Result:
    """One program: the compile, its kernels, and the verdicts on those that matter."""

    compiled: Compiled
    kernels: tuple[Kernel, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def passes(self) -> bool:
        """Whether it compiled and, for a kernel of this project, is sound; the compiler's own kernels may be poor."""
        own = not isinstance(self.compiled.program, ModelProgram)
        return not self.compiled.error and (not own or all(verdict.passes for verdict in self.verdicts))

    def to_json(self) -> dict[str, Any]:
        return {
            **compiling.to_json(self.compiled), "memory_fit": memory_fit(self.compiled), "passes": self.passes,
            "kernels": [kernel.to_json() for kernel in self.kernels],
            "verdicts": [{"passes": one.passes, "sentence": one.sentence} for one in self.verdicts],
        }  # fmt: skip


def read_result(compiled: Compiled) -> Result:
    """Kernels and verdicts of a compile."""
    if compiled.error:
        kernels: list[Kernel] = []
    else:
        kernels = read_kernels(compiled.folder, parse_hlo(compiled.hlo), compiled.target)
    if isinstance(compiled.program, ModelProgram):
        verdicts = [judge(kernel, compiled.target) for kernel in kernels if noteworthy(kernel)]
    else:
        verdicts = judge_kernel_program(compiled, kernels)
        kernels = [dataclasses.replace(kernel, component=compiled.program.component) for kernel in kernels]
    return Result(compiled, tuple(kernels), tuple(verdicts))


def kernel_program(result: Result) -> KernelProgram:
    """The program of a result that is of one kernel, not of a model."""
    program = result.compiled.program
    assert isinstance(program, KernelProgram), program.title
    return program


def own_kernels(result: Result) -> list[Kernel]:
    """This project's kernels of one of its programs, in the order of their verdicts."""
    return [kernel for _, kernel in judged(kernel_program(result), result.kernels)]


def shapes_of(result: Result) -> str:
    """What the tiles of a sweep have in common."""
    program = result.compiled.program
    return program.shapes if isinstance(program, KernelProgram) else program.title


def noteworthy(kernel: Kernel) -> bool:
    """Whether a kernel does matrix work, or was meant to, or spills."""
    return bool(kernel.products or kernel.spills or (kernel.whole and kernel.whole.matrix))


def memory_fit(compiled: Compiled) -> dict[str, Any] | None:
    """Bytes of the program, its peak, and whether that fits the card: as compiled, and in bf16 with quantised weights.

    Packed weights are in the compiler's own plan.  The quantised figure of bf16 is arithmetic: the same temporaries,
    4.5 bits a weight, no room for expanding them.
    """
    program, memory = compiled.program, compiled.memory
    if not memory or not isinstance(program, ModelProgram):
        return None
    room = card(compiled.target.card).figures.get("memory_bytes")
    peak = memory["argument_bytes"] + memory["temp_bytes"] + memory["output_bytes"] - memory["alias_bytes"]
    saved = weight_bytes(program.config, "bf16") - weight_bytes(program.config, QUANTISED)
    guessed = {QUANTISED: peak - saved} if program.dtype == "bf16" and not program.weights else {}
    peaks = {program.weights or program.dtype: peak} | guessed
    return {
        "card": compiled.target.card, "card_bytes": room and int(room.value), "peak_bytes": peaks,
        "fits": {name: value <= room.value for name, value in peaks.items()} if room else None,
    }  # fmt: skip


def compile_table(results: Iterable[Result]) -> Table:
    rows = []
    for result in results:
        compiled, memory = result.compiled, result.compiled.memory
        fit = memory_fit(compiled)
        peaks = fit["peak_bytes"] if fit else {}
        fits = (fit or {}).get("fits") or {}
        state = "refused" if compiled.error else "cached" if compiled.cached else "compiled"
        sizes = (size(memory.get(f"{name}_bytes")) for name in ("argument", "temp", "output"))
        peak = (f"{name} {size(peak)}{'' if fits.get(name, True) else ' (too large)'}" for name, peak in peaks.items())
        times = (duration(1e3 * seconds) for seconds in (compiled.compile_s, compiled.compile_cpu_s))
        rows.append((compiled.program.title, state, *times, *sizes, ", ".join(peak)))
    header = ("program", "", "compile", "CPU time", "arguments", "temporaries", "outputs", "peak")
    guessed = any(QUANTISED in row[-1] for row in rows)
    note = f"{QUANTISED}: the same temporaries with quantised weights, by arithmetic." if guessed else ""
    return Table("Programs", header, tuple(rows), note, words=(0, 1))


def kernel_table(
    kernels: Iterable[Kernel],
    target: Target = TARGETS["gfx1201"],
    title: str = "Kernels with matrix products, and those that spill",
) -> Table:
    """What each kernel is made of; "-" where the compiler does not say."""
    header = ("kernel", "component", *_resource_header(target), "grid", "block")
    rows = [
        (one.name, one.component, *_resources(one), "x".join(map(str, one.grid)), str(one.block[0])) for one in kernels
    ]  # fmt: skip
    return Table(title, header, tuple(rows), words=(0, 1))


def tile_table(results: Iterable[Result], target: Target, title: str) -> Table:
    """A sweep, best first: each kernel of each tile, or why the compiler refused it."""
    rows: list[tuple[str, ...]] = []
    for result in results:
        name = kernel_program(result).tile_name
        if result.compiled.error:
            rows.append((name, refusal(result.compiled.error, target), *("",) * len(_resource_header(target))))
        for kernel, verdict in zip(own_kernels(result), result.verdicts, strict=False):
            rows.append((name, f"{kernel.name}: {'; '.join(verdict.faults) or 'sound'}", *_resources(kernel)))
    note = "Best first: sound tiles, by matrix instructions in the inner loop, then by waves.  Nothing ran."
    return Table(title, ("tile", "verdict", *_resource_header(target)), tuple(rows), note, words=(0, 1))


def _resource_header(target: Target) -> tuple[str, ...]:
    words = vendor_of(target).words
    return (
        words.registers, "SGPRs", "spilled", words.stack.replace(" a ", "\nper "), words.shared.replace(" ", "\n"),
        words.waves.replace(" a ", "\nper "), words.matrix.replace(" ", "\n"), "in loop",
        f"16-bit {words.shared}\nloads in loop",
    )  # fmt: skip


def _resources(one: Kernel) -> tuple[str, ...]:
    loop, whole = one.loop, one.whole
    known = (str(value) if value is not None else "-" for value in (one.vgprs, one.sgprs, one.vgpr_spills))
    return (
        *known, str(one.scratch_bytes), f"{one.lds_bytes:,}", str(one.waves), str(whole.matrix) if whole else "-",
        f"{loop.matrix} of {loop.instructions}" if loop else "-", str(loop.narrow_lds_loads) if loop else "-",
    )  # fmt: skip


def prediction_table(predictions: Iterable[Predicted], title: str) -> Table:
    predictions = list(predictions)
    rows = [(*_prediction_row(one.component, one.floor_ms, one.ms), *_hidden(one.occupancy)) for one in predictions]
    total = Range(*(sum(getattr(one.ms, name) for one in predictions) for name in ("low", "middle", "high")))
    rows.append((*_prediction_row("total", sum(one.floor_ms for one in predictions), total), "", ""))
    header = ("component", "floor", "predicted", "from", "to", "waves\nper SIMD", "latency hidden\nper turn")
    return Table(
        title, header, tuple(rows), "Predicted, not measured. Waves and what they hide are not in the figures."
    )


def _hidden(occupancy: Occupancy | None) -> tuple[str, str]:
    return (str(occupancy.waves), f"{occupancy.hidden_cycles:,} cycles") if occupancy else ("-", "-")


def _prediction_row(name: str, floor_ms: float, ms: Range) -> tuple[str, ...]:
    """Under the heads component, floor, predicted, from, to."""
    return (name, *map(duration, (floor_ms, ms.middle, ms.low, ms.high)))


def sentences(toolchain: Toolchain, results: Iterable[Result]) -> list[str]:
    """What must be read before any figure, then the verdicts."""
    lines = [toolchain.sentence]
    for result in results:
        if result.compiled.error and isinstance(result.compiled.program, ModelProgram):
            lines.append(f"{result.compiled.program.title}: {result.compiled.error.splitlines()[0][:300]}")
        lines += [one.sentence for one in result.verdicts if one.faults or not _is_model(result)]
        if _is_model(result) and result.verdicts:
            lines.append(_whose(result))
    return lines


def _whose(result: Result) -> str:
    """Which kernels of a whole program are the compiler's own, and that nobody chose their tiles for the card."""
    own = [one.name for one in result.kernels if is_own(one.name)]
    theirs = [one.name for one in result.kernels if noteworthy(one) and not is_own(one.name)]
    return (
        f"{result.compiled.program.title}: this project's kernels are {', '.join(own) or 'none'}; XLA's own, not tuned "
        f"(that needs the card) and no reason for exit status 1: {', '.join(theirs) or 'none'}"
    )


def _is_model(result: Result) -> bool:
    return isinstance(result.compiled.program, ModelProgram)
