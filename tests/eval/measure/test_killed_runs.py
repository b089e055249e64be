"""Runs that are killed or interrupted at drawn moments, and resumed until they are done: nothing is lost, nothing else
is kept, and an interrupt ends in its own status."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval.cli import INTERRUPTED
from eval.measure.records import file
from eval.measure.records.identity import identity_of

ROOT = Path(__file__).parents[3]
FEW = 2
"""Signals of each kind; `--cases` says otherwise."""

READY = "at work"
PLUGIN = f"""
from functools import partial
from eval.commands import compare
from eval.measure.timing import Budget
compare.ComparisonRequest = partial(compare.ComparisonRequest, budget=Budget(0, 1, 1))
print({READY!r}, flush=True)
"""


class Runs:
    """Runs of one small comparison in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.plugin = folder / "quick.py"
        self.plugin.write_text(PLUGIN)

    def start(self, out: Path) -> subprocess.Popen[str]:
        """Given back where it is listening for signals."""
        words = ["compare", "--model", "tiny-dense", "--layouts", "swa(5)", "--tokens", "16", "--quality-tokens", "0"]
        words += ["--out", str(out), "--resume", "--plugin", str(self.plugin)]
        command = [sys.executable, "-c", "import sys; from eval.cli import main; sys.exit(main())", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        assert started.stdout.readline().strip() == READY
        return started


def found(out: Path) -> dict:
    """What the newest record of each cell is of."""
    records = file.latest(file.read(out / file.FILE_NAME))
    assert all(record.status == "ok" for record in records)
    return {record.cell: identity_of(record) for record in records}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_is_stopped_at_any_moment_goes_on_to_the_same(request, tmp_path, number):
    rng, runs, count = random.Random(int(number)), Runs(tmp_path), request.config.getoption("--cases") or FEW
    whole, start = runs.start(tmp_path / "whole"), time.monotonic()
    said, _ = whole.communicate()
    seconds, wanted = time.monotonic() - start, found(tmp_path / "whole")
    assert whole.returncode == 0 and len(wanted) == 5, said
    stopped, folder = 0, 0
    while stopped < count or not (tmp_path / str(folder) / "report.html").exists():
        if (tmp_path / str(folder) / "report.html").exists():
            assert found(tmp_path / str(folder)) == wanted
            folder += 1
        out = tmp_path / str(folder)
        run = runs.start(out)
        if stopped < count:
            time.sleep(rng.uniform(0, seconds))
            run.send_signal(number)  # nothing, where it has ended
            stopped += run.poll() is None
        said, _ = run.communicate()
        kept = found(out)
        assert all(wanted[cell] == of for cell, of in kept.items())
        if run.returncode:
            assert run.returncode == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: INTERRUPTED}[number], said
        else:
            assert kept == wanted and (out / "report.html").exists(), said
    assert found(tmp_path / str(folder)) == wanted
