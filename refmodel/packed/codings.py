"""The codings by name, as `--weights` and records spell them: "int4", "int4(128)", "q4_k"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from attention.unknown import unknown
from refmodel.packed.coding import Coding
from refmodel.packed.folder_codings import fp8_blocks, uint4
from refmodel.packed.gguf_codings import GGUF_CODINGS
from refmodel.packed.scaled import Encoder, fp8, int4, int8

BY_GROUP: Final[Mapping[str, Callable[..., Encoder]]] = MappingProxyType({"int4": int4, "int8": int8, "fp8": fp8})
"""Those that weights can be packed in while they are loaded, with the group's size as a parameter."""
_WITH_GROUP: Final[Mapping[str, Callable[..., Coding]]] = MappingProxyType({**BY_GROUP, "uint4": uint4})


def codings() -> dict[str, Coding]:
    """Every coding by name, those that take a group's size with the one that they have without."""
    return {name: maker() for name, maker in _WITH_GROUP.items()} | {"fp8_blocks": fp8_blocks()} | {**GGUF_CODINGS}


def parse_coding(text: str, also: tuple[str, ...] = ()) -> Coding:
    """The coding that a text names; `also` are other words that are accepted in its place, for messages.

    Raises `ValueError` for another, and for a group that none has.

    Examples:
        >>> parse_coding("int4").name, parse_coding("int4(128)").bits_per_weight(2048), parse_coding("q4_k").bits
        ('int4(32)', 4.125, 4)
    """
    known, found = codings(), _NAME.fullmatch(text.strip().lower())
    name, group = found.groups() if found else (text, None)
    if name not in known:
        raise ValueError(unknown("format of weights", text, (*also, *known)))
    if group is None:
        return known[name]
    if name not in _WITH_GROUP:
        raise ValueError(f"{name} has groups of its own, got {text!r}; accepted: {name}")
    if not int(group) or int(group) % 16:
        raise ValueError(f"{name} takes groups of a multiple of 16, got {group}")
    return _WITH_GROUP[name](int(group))


_NAME: Final = re.compile(r"([a-z0-9_]+)(?:\((\d{1,6})\))?")
