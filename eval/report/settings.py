"""Which records compare: those of one machine, dtype, batch and weights, whatever commits and versions they are of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from eval.measure.records.identity import identity_of, shown
from eval.measure.records.schema import Record

MACHINE: Final = ("device", "device_kind", "cpu", "cores", "dtype", "batch")
WEIGHTS: Final = ("weights", "config", "params")
PROGRAM: Final = ("git_commit", "code", "jax", "jaxlib", "xla_flags")
"""What differs between records that are compared all the same where they are `mixed`."""


def settings(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each setting, in their order.

    One layer's attention reads no weights: its time is in every setting of its machine.
    """
    found = dict.fromkeys((_machine(record), _weights(record)) for record in records if record.kind != "attention")
    machines = {machine for machine, _ in found}
    found |= dict.fromkeys((machine, ()) for machine in map(_machine, records) if machine not in machines)
    return [
        [one for one in records if _machine(one) == machine and (one.kind == "attention" or _weights(one) == weights)]
        for machine, weights in found
    ]


def _machine(record: Record) -> tuple[str | int | None, ...]:
    identity = identity_of(record)
    return tuple(identity[name] for name in MACHINE)


def _weights(record: Record) -> tuple[str | int | None, ...]:
    identity = identity_of(record)
    return tuple(identity[name] for name in WEIGHTS)


def in_words(records: Sequence[Record]) -> str:
    """The setting of records of one: `pretrained weights, NVIDIA H200, bfloat16`; a CPU by its own name."""
    run = next((record for record in records if record.kind != "attention"), records[0]).run
    where = run.environment
    machine = where.device_kind if where.device_kind != run.device else f"{run.device} ({where.cpu})"
    prompts = f", {run.batch} prompts at once" if run.batch > 1 else ""
    return f"{run.weights} weights, {machine}, {run.dtype}{prompts}"


def programs_apart(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """By name, the commits and versions that records are of, where they are of more than one."""
    found: dict[str, dict[str, None]] = {name: {} for name in PROGRAM}
    for record in records:
        identity = identity_of(record)
        for name in PROGRAM:
            found[name][shown(identity[name])] = None
    return {name: tuple(values) for name, values in found.items() if len(values) > 1}
