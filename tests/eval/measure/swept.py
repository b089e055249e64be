"""A sweep run as `run_comparison` runs it, without a folder of its own."""

from __future__ import annotations

from eval.measure import sweep


def run_sweep(planned, cells, path, invocation=None, **told):
    return sweep.run_sweep(planned, cells, path, sweep.run_of(planned, invocation), **told)


def missing_cells(planned, path):
    return sweep.missing_cells(planned, path, sweep.run_of(planned))


def records_file(planned, folder, **told):
    return sweep.records_file(planned, folder, sweep.run_of(planned), **told)
