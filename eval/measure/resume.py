"""What a resumed run may keep of the records that are there: those of what it would measure itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eval.measure.named_layout import LayoutNames
from eval.measure.plan import Sweep
from eval.measure.records.identity import differences, identity_of, layout_digest, run_identity, tokens_digest
from eval.measure.records.schema import Record, RunInfo


def layout_names(sweep: Sweep) -> LayoutNames:
    """Those that a sweep's records may hold."""
    return LayoutNames(sweep.model.config, (*sweep.layouts, *sweep.whole))


def foreign_records(sweep: Sweep, run: RunInfo, records: Iterable[Record]) -> dict[int, list[str]]:
    """By place: the records that are of something else than `run` of `sweep` would measure, and in what they differ."""
    names, found = layout_names(sweep), {}
    for place, record in enumerate(records):
        if different := differences(identity_of(record), _ours(sweep, run, record, names)):
            found[place] = different
    return found


def _ours(sweep: Sweep, run: RunInfo, record: Record, names: LayoutNames) -> dict[str, Any]:
    """The identity of the cell of `record` as the sweep would measure it; without a layout that nobody can read."""
    found: dict[str, Any] = run_identity(run)
    known = len(sweep.text.tokens)
    read = sweep.read_by(record.kind, record.tokens) if record.tokens <= known else ()
    found["tokens"] = tokens_digest(read) if read else f"a text of {known:,}"
    find = names.single_layer if record.kind == "attention" else names.layout
    try:
        found["layout"] = layout_digest(find(record.layout).variants)
    except ValueError:
        return found  # its name is all that there is
    return found
