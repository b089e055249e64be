"""Runs that are killed or interrupted at drawn moments, and resumed until they are done: nothing is lost, nothing else
is kept, and an interrupt ends in its own status."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eval.cli import INTERRUPTED
from eval.measure.records import file
from eval.measure.records.identity import identity_of
from tests.refmodel.checkpoint.written_folder import LLAMA, write_folder

ROOT = Path(__file__).parents[3]
FEW = 2
"""Signals of each kind; `--cases` says otherwise."""

ENDS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: INTERRUPTED}

READY = "at work"
PLUGIN = f"""
from functools import partial
from eval.commands import compare
from eval.measure.timing import Budget
compare.ComparisonRequest = partial(compare.ComparisonRequest, budget=Budget(0, 1, 1))
print({READY!r}, flush=True)
"""


class Runs:
    """Runs of one small comparison in processes of their own, of a checkpoint: it is read, where weights that are drawn
    are compiled for half of the time."""

    def __init__(self, folder: Path) -> None:
        self.plugin, self.model = folder / "quick.py", folder / "model"
        self.plugin.write_text(PLUGIN)
        write_folder(self.model, LLAMA)

    def start(self, out: Path) -> subprocess.Popen[str]:
        """Given back where it is listening for signals."""
        words = ["compare", "--model", str(self.model), "--layouts", "swa(5)", "--tokens", "16", "--resume"]
        words += ["--quality-tokens", "0", "--out", str(out), "--plugin", str(self.plugin)]
        command = [sys.executable, "-c", "import sys; from eval.cli import main; sys.exit(main())", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        assert started.stdout.readline().strip() == READY
        return started


def cpu_seconds(run: subprocess.Popen[str]) -> float:
    """What a run has used of the processor: its moments are drawn in it, since it does not depend on what else runs."""
    fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def found(out: Path) -> dict:
    """What the newest record of each cell is of."""
    records = file.latest(file.read(out / file.FILE_NAME))
    assert all(record.status == "ok" for record in records)
    return {record.cell: identity_of(record) for record in records}


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDS)
def test_what_is_stopped_at_any_moment_goes_on_to_the_same(request, tmp_path, number):
    """One folder after the other on each core, each stopped and resumed until a run of it comes to its end."""
    runs, count = Runs(tmp_path), request.config.getoption("--cases") or FEW
    before_s, whole = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, runs.start(tmp_path / "whole")
    first_s = cpu_seconds(whole)
    said, _ = whole.communicate()
    last_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before_s
    wanted = found(tmp_path / "whole")
    assert whole.returncode == 0 and len(wanted) == 5, said
    stopped: list[Path] = []

    def run(out: Path, moment_s: float) -> int:
        run = runs.start(out)
        if len(stopped) < count:
            while run.poll() is None and cpu_seconds(run) < moment_s:
                time.sleep(0.01)
            run.send_signal(number)  # nothing, where it has ended
        said, _ = run.communicate()
        kept = found(out)
        assert run.returncode in (0, ENDS[number]), said
        assert all(wanted[cell] == of for cell, of in kept.items())
        if run.returncode:
            stopped.append(out)
        else:
            assert kept == wanted and (out / "report.html").exists(), said
        return run.returncode

    def work(core: int) -> None:
        rng, folder = random.Random(f"{number} {core}"), 0
        while len(stopped) < count:
            folder += 1
            assert folder <= 2 * count, "runs do not hear the signal"
            while run(tmp_path / f"{core}-{folder}", rng.uniform(first_s, last_s)):
                pass

    with ThreadPoolExecutor(cores := os.cpu_count() or 1) as pool:
        assert len(list(pool.map(work, range(cores)))) == cores
    assert len(stopped) >= count
