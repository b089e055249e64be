"""Small faults in the three packages, each of which the tests of its module must catch: `make mutants`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest

from tests.mutants.all_mutants import MUTANTS
from tests.mutants.mutant import ROOT, Mutant

SECONDS = 900  # a mutant whose tests do not end is caught
TOLD = 100  # beside pytest's own code: a process that dies of anything else ends with 1 too, which is FAILED
PASSED, FAILED = TOLD + pytest.ExitCode.OK, TOLD + pytest.ExitCode.TESTS_FAILED
OPTIONS = (
    "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow and not long and not gpu and not lower",
    "--hypothesis-profile=unshrunk",
)  # fmt: skip


def test(tests: Sequence[str], mutant: Mutant | None, log: Path) -> None:
    """In a process of its own: runs the tests on the mutant, up to the first that fails."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(ROOT)
    sys.dont_write_bytecode, sys.pycache_prefix = False, f"{log.parent}/bytecode"  # what is not mutated compiles once
    if mutant:
        mutant.install()
    sys.exit(TOLD + pytest.main([*OPTIONS, *tests]))


def wrong(tests: Sequence[str], mutant: Mutant | None, folder: Path) -> str:
    """Nothing where a mutant is caught, an equivalent one survives, or without any all passes; else what is wrong."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.mutants.warm"])
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        log = Path(file.name)
    process = context.Process(target=test, args=(tests, mutant, log))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        return "" if mutant and not mutant.equivalent else "its tests do not end"
    survives = mutant is None or bool(mutant.equivalent)
    if process.exitcode == (PASSED if survives else FAILED):
        return ""
    if process.exitcode == PASSED:
        return "survives"
    code = process.exitcode - TOLD if process.exitcode >= TOLD else process.exitcode
    return f"exit code {code}:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="so many, drawn by --seed (default: all, and the tests without any)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[""], help="mutants whose file or text has one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if mutant.source and any(part in str(mutant) for part in given.only)]
    if given.sample:
        able = [mutant for mutant in chosen if not mutant.equivalent]
        chosen = random.Random(given.seed).sample(able, min(given.sample, len(able)))
    cases: list[tuple[Sequence[str], Mutant | None]] = [(mutant.tests, mutant) for mutant in chosen]
    if not given.sample:  # where a test fails without a fault, that it fails with one says nothing
        cases = [(tests, None) for tests in dict.fromkeys(mutant.tests for mutant in chosen)] + cases
    faults = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as pool:
        running = {pool.submit(wrong, *case, Path(folder)): case for case in cases}
        for done in as_completed(running):
            (tests, mutant), fault = running[done], done.result()
            print("WRONG" if fault else "ok   ", mutant or " ".join(tests), fault, flush=True)
            faults += bool(fault)
    print(f"{len(chosen)} of {len(MUTANTS)} mutants: {faults} wrong")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
