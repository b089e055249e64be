"""`prefillwall report`: the report of records that are there, without measuring anything."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention.regular_file import regular_file
from eval.commands import arguments
from eval.commands.output import Console, print_json
from eval.cost.cards import Card
from eval.measure.records.decode import to_json
from eval.measure.records.file import FILE_NAME, records_path
from eval.report.comparison import Comparison
from eval.report.several import Comparisons
from refmodel.checkpoint.find import open_config

DESCRIPTION = "Draws the report of records that a comparison kept or set aside.  Nothing is measured."

EXAMPLES = (
    "prefillwall report out/compare",
    "prefillwall report out/compare --card r9700 h200",
    "prefillwall report out/compare/records.20250131-235959.jsonl --out out/before",
    "prefillwall report out/several",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "records", type=Path, metavar="RECORDS",
        help="a comparison's folder, a file of records, or the folder of several comparisons",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="MODEL", help="a preset, a folder, a .gguf file or a Hub id (default: what the records name)"
    )
    parser.add_argument(
        "--out", type=Path,
        help="folder (default: that of records.jsonl; for a file of another name a folder of that name beside it)",
    )  # fmt: skip
    arguments.add_mixed(parser)
    arguments.add_cards(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    console = Console(stderr=options.json)  # stdout is the record's then
    cards = arguments.floor_cards(options.card)
    several = _several(options.records)
    if not several:
        source = records_path(options.records)
        folder = options.out or (source.parent if source.name == "records.jsonl" else source.with_suffix(""))
        compared = _read(source, options)
        _keep_beside(source, folder)
        return draw(compared, folder, console, options, cards)
    if options.model is not None:
        raise ValueError(f"--model names one, and {options.records} holds {len(several)} comparisons; leave it out")
    found, out = {name: _read(source, options) for name, source in several.items()}, options.out or options.records
    for name, source in several.items():
        _keep_beside(source, out / name)
    statuses = [draw(compared, out / name, console, options, cards, alone=False) for name, compared in found.items()]
    print_side_by_side(found, out, console, options)
    return max(statuses)


def _several(folder: Path) -> dict[str, Path]:
    """The records of each comparison in a folder that has none of its own, by the names of their folders."""
    if not os.path.isdir(folder) or (folder / FILE_NAME).exists():  # which no name is too long for
        return {}
    return {path.parent.name: path for path in sorted(folder.glob(f"*/{FILE_NAME}"))}


def _read(source: Path, options: argparse.Namespace) -> Comparison:
    config = None if options.model is None else open_config(options.model)
    compared = Comparison.read(source, config, mixed=options.mixed)
    _ = compared.summaries  # what cannot be drawn is refused before anything is written
    return compared


def draw(
    compared: Comparison, folder: Path, console: Console, options: argparse.Namespace, cards: Sequence[Card],
    *, alone: bool = True,
) -> int:  # fmt: skip
    """The report in `folder`, its tables on `console`; the exit status.  With --json all numbers on stdout, if it is
    `alone`."""
    from eval.report.report_files import write_report  # matplotlib takes a while to load
    from eval.report.terminal import render_terminal

    path = write_report(folder, compared, command=invocation(options), cards=cards)
    render_terminal(compared, console, cards=cards)
    console.print(f"\nreport: {path.resolve()}", soft_wrap=True, highlight=False)
    console.print(f"open in a browser: {path.with_suffix('.html').resolve()}", soft_wrap=True, highlight=False)
    if options.json and alone:
        print_json({"command": options.command, **record_of(compared, path)})
    return 1 if all(summary.is_empty for summary in compared.summaries) else 0


def print_side_by_side(
    found: Mapping[str, Comparison], folder: Path, console: Console, options: argparse.Namespace
) -> None:
    """The table of several, by the names of their folders in `folder`, printed and kept as side_by_side.md; with --json
    the numbers of all on stdout."""
    side_by_side = Comparisons(tuple(found.values()))
    console.print(side_by_side.table())
    kept = regular_file(folder / "side_by_side.md")
    kept.write_text(side_by_side.table().to_markdown(), encoding="utf-8")
    console.print(f"side by side: {kept.resolve()}, the reports beside it", soft_wrap=True, highlight=False)
    if options.json:
        records = [record_of(compared, folder / name / "report.md") for name, compared in found.items()]
        print_json({"command": options.command, "comparisons": records})


def record_of(compared: Comparison, path: Path) -> dict[str, Any]:
    """A comparison's numbers and what they mean, with the places of its records and of its report, `path`."""
    reading = (record for record in compared.records if record.kind != "attention")  # one layer alone reads no weights
    return {
        "model": compared.config.name,
        "weights": next(reading, compared.records[0]).run.weights,
        "conventions": {
            "linear": "layers; the head on the last token only", "pairs": "causal, exact",
            "time": "median of the samples; linear and attention are timed apart",
            "realisation": "speed-up / reduction of useful FLOPs, over full attention",
            "quality": "one pass over the text (stride = length); mean KL(full || layout) over the tokens",
        },
        "records": str(path.with_name("records.jsonl").resolve()), "report": str(path.resolve()),
        "rows": compared.rows(), "failures": list(map(to_json, compared.failures)),
    }  # fmt: skip


def invocation(options: argparse.Namespace) -> str:
    """The command line as it was given."""
    return shlex.join(["prefillwall", *options.words])


def _keep_beside(source: Path, folder: Path) -> None:
    """A report stands beside its records: they are copied where they are not, and never over others."""
    target = regular_file(folder / "records.jsonl")
    if target.exists() and not target.samefile(source):
        if target.read_bytes() != source.read_bytes():
            raise ValueError(f"{target} holds other records than {source}; choose another --out")
    elif not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
