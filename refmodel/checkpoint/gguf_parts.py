"""A GGUF model in several files, `NAME-00001-of-00003.gguf` and so on: every part of it, or a refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from refmodel.checkpoint.gguf_header import GgufPart, read_header
from refmodel.fields import MOST_WHOLE, Fields

_NAME: Final = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.IGNORECASE)


def read_parts(path: Path) -> list[GgufPart]:
    """All parts of the model that `path` is a part of, in order; the first alone has the settings.

    Raises `ValueError` where one is missing or is not of the same model: sizes and costs of a part would be wrong.
    """
    given = read_header(path)
    settings = Fields(given.settings, str(path))
    count = settings.get("split.count", int, 1)
    if count <= 1:
        return [given]
    place = settings.within("split.no", 0, MOST_WHOLE, 0, int) + 1
    named = _NAME.fullmatch(path.name)
    if not named or int(named["count"]) != count:
        raise ValueError(
            f"{path} is part {place} of {count} of a split GGUF file; its parts are found by their names, "
            f"NAME-{place:05d}-of-{count:05d}.gguf"
        )
    files = [path.with_name(f"{named['stem']}-{i:05d}-of-{count:05d}{named['suffix']}") for i in range(1, count + 1)]
    if missing := [file.name for file in files if not file.is_file()]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"{path} is part {place} of {count} of a split GGUF file; {missing[0]}{more} is missing")
    parts = [given if file == path else read_header(file) for file in files]
    _check(parts, count)
    return parts


def _check(parts: list[GgufPart], count: int) -> None:
    for number, part in enumerate(parts):
        settings = Fields(part.settings, str(part.path))
        found = settings.get("split.no", int, None), settings.get("split.count", int, None)
        if found != (number, count):
            raise ValueError(f"{part.path}: split.no and split.count are {found}; its name says {(number, count)}")
    names = [name for part in parts for name in part.tensors]
    told = Fields(parts[0].settings, str(parts[0].path)).get("split.tensors.count", int, len(names))
    if len(set(names)) < len(names) or told != len(names):
        raise ValueError(f"{parts[0].path}: its parts hold {len(set(names))} tensors, split.tensors.count is {told}")
