"""One compile for a card that is not there: a child process, what it left behind, and the cache of earlier ones."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attention
import eval
import refmodel
from attention.regular_file import regular_file
from eval.lowering import programs
from eval.lowering.folder import cache_folder
from eval.lowering.programs import Program
from eval.lowering.target import Target
from eval.lowering.toolchain import Toolchain
from eval.lowering.vendors import vendor_of


@dataclass(frozen=True)
class Compiled:
    """A compiled program.

    Attributes:
        folder: `program.hlo.txt`, code objects in `kernels/`, `dump/` with launches and, if asked for, LLVM IR.
        compile_cpu_s: seconds of all cores, which other work on the machine does not lengthen.
        memory: argument, temp, output and alias bytes; empty where the compiler refused.
        error: what it said then.
        cached: whether this is an earlier compile.
    """

    program: Program
    target: Target
    folder: Path
    lower_s: float
    compile_s: float
    compile_cpu_s: float
    memory: Mapping[str, int]
    error: str
    cached: bool

    @property
    def hlo(self) -> str:
        return (self.folder / "program.hlo.txt").read_text()


def compile_for(program: Program, target: Target, toolchain: Toolchain, *, keep_ir: bool = False) -> Compiled:
    """Compiles in a child process, or finds the same program, sources and toolchain in the cache.

    Raises `RuntimeError` with the end of its output where the child died.
    """
    folder = cache_folder() / "lowered" / _key(program, target, toolchain, keep_ir)
    cached = (folder / "result.json").exists()
    if not cached:
        _compile(program, target, toolchain, folder, keep_ir)
    result = json.loads((folder / "result.json").read_text())
    return Compiled(
        program, target, folder, result["lower_s"], result["compile_s"], result.get("compile_cpu_s", 0.0),
        result.get("memory", {}), result.get("error", ""), cached,
    )  # fmt: skip


def _compile(program: Program, target: Target, toolchain: Toolchain, folder: Path, keep_ir: bool) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        (making / "kernels").mkdir()
        (making / "dump").mkdir()
        job = {
            "program": programs.to_json(program), "target": target.name, "plugin": str(toolchain.plugin),
        }  # fmt: skip
        (making / "job.json").write_text(json.dumps(job))
        environment = toolchain.environment(making, keep_ir=keep_ir)
        sources = str(Path(eval.__path__[0]).parent)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (sources, environment.get("PYTHONPATH"))))
        ran = subprocess.run(
            [sys.executable, "-m", "eval.lowering.child", str(making)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not (making / "result.json").exists():
            tail = "\n".join((ran.stderr or ran.stdout).strip().splitlines()[-12:])
            raise RuntimeError(
                f"compiling {program.title} for {target.name} died with status {ran.returncode}:\n{tail}"
            )
        _publish(making, folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _publish(making: Path, folder: Path) -> None:
    """Moves a finished compile into the cache; of two at once the first stays, for they are the same."""
    try:
        making.rename(folder)
    except OSError:
        if not (folder / "result.json").exists():
            raise


def _key(program: Program, target: Target, toolchain: Toolchain, keep_ir: bool) -> str:
    parts = (
        programs.to_json(program), vendor_of(target).config_text(target), dict(toolchain.versions),
        toolchain.can_execute, _sources(),
        sorted(toolchain.environment(Path("x"), keep_ir=keep_ir)["XLA_FLAGS"].split()),
    )  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


@functools.cache
def _sources() -> str:
    """A digest of all that a program is built from."""
    digest = hashlib.sha256()
    for package in (attention, refmodel, eval):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def keep(compiled: Compiled, folder: Path) -> None:
    """Copies HLO, code objects and, where there is any, LLVM IR to `folder`, and writes each kernel's assembly."""
    folder.mkdir(parents=True, exist_ok=True)
    if compiled.error:
        regular_file(folder / "error.txt").write_text(compiled.error)
        return
    shutil.copy(compiled.folder / "program.hlo.txt", folder)
    for kind in ("kernels", "llvm-ir", "assembly"):
        (folder / kind).mkdir(exist_ok=True)
    for path in (compiled.folder / "dump").glob("*.ir-with-opt.ll"):
        shutil.copy(path, folder / "llvm-ir")
    vendor = vendor_of(compiled.target)
    for path, one in vendor.objects(compiled.folder).values():
        shutil.copy(path, folder / "kernels")
        text = vendor.assembly(compiled.folder, path, one)
        if text is not None:
            regular_file(folder / "assembly" / f"{one.name}.s").write_text(text)


def to_json(compiled: Compiled) -> dict[str, Any]:
    """What a report says of the compile itself."""
    return {
        "program": programs.to_json(compiled.program), "target": compiled.target.name, "cached": compiled.cached,
        "lower_s": compiled.lower_s, "compile_s": compiled.compile_s, "compile_cpu_s": compiled.compile_cpu_s,
        "memory": dict(compiled.memory), "error": compiled.error,
    }  # fmt: skip
