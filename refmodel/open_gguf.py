"""Opening a GGUF file: the one place where the reader's own errors are turned into ours."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFReader

from refmodel.fields import Fields


def open_gguf(source: str | Path | GGUFReader) -> GGUFReader:
    """A reader of the file at `source`; an open reader is passed through (opening takes seconds).

    Tensor data stay on disk, mapped into memory.  Raises `ValueError` naming a file that is absent, truncated,
    foreign, or of the other byte order.
    """
    if isinstance(source, GGUFReader):
        return source
    try:
        reader = GGUFReader(source)
    except Exception as error:  # the reader indexes into whatever it finds: any exception type may come out
        raise ValueError(f"{source}: not a readable GGUF file ({type(error).__name__}: {error})") from error
    if reader.byte_order != "I":
        raise ValueError(f"{source}: the GGUF file's byte order is not this machine's")
    return reader


def path_of(reader: GGUFReader) -> Path:
    """The file that a reader reads."""
    return Path(reader.data.filename)


def metadata(reader: GGUFReader) -> Fields:
    """The file's settings, without the tokenizer's."""
    values = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("tokenizer.")}
    return Fields(values, str(path_of(reader)))
