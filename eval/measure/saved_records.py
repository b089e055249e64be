"""What an earlier comparison kept: which file, whether its records are a comparison's, and of which model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.measure import records
from eval.measure.cells import MEASURES
from eval.measure.records import Record
from refmodel.config import ModelConfig
from refmodel.presets import PRESETS, preset
from refmodel.source import open_config

NEEDED = ("model", "device", "dtype", "impl", "time", "environment")
"""What every record of a comparison says of its run, beside the cell and how that went."""


def read_kept(path: str | Path) -> tuple[Path, list[Record]]:
    """The file that `path` stands for and all its records.  Raises `ValueError` where they are not a comparison's."""
    file = records_path(path)
    read = records.read(file)
    if not read:
        raise ValueError(f"no records of a comparison in {file}")
    _refuse_foreign(read, file)
    return file, read


def records_path(path: str | Path) -> Path:
    """The file of records that a folder or a file stands for.  Raises `ValueError` where there is none."""
    file = Path(path) / "records.jsonl" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ValueError(f"no records at {file}; the folder of a comparison is wanted, or its records.jsonl")
    return file


def _refuse_foreign(read: Sequence[Record], file: Path) -> None:
    """Raises `ValueError` for records of other measurements, which have a layout and a length too."""
    for record in read:
        kind, missing = record["kind"], [field for field in NEEDED if field not in record]
        if kind not in MEASURES or missing:
            lacks = f" without {', '.join(missing)}" if missing else ""
            raise ValueError(
                f"{file} holds a record of kind {kind!r}{lacks}; accepted: what a comparison kept, of kinds "
                f"{', '.join(MEASURES)}, with {', '.join(NEEDED)}"
            )


def config_of(kept: Sequence[Record], file: Path) -> ModelConfig:
    """Of the one model that the records name."""
    names = sorted({str(record.get("model")) for record in kept})
    if len(names) > 1:
        raise ValueError(f"{file} holds records of several models, {', '.join(names)}; a comparison is of one")
    (name,) = names
    try:
        return preset(name) if name in PRESETS else open_config(name)
    except ValueError as error:
        raise ValueError(f"{file} holds records of {name!r}, whose shape is not known here; say which model") from error
