"""tokenizer.json, with what ends the library in a panic looked at first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from refmodel.json_object import read_json
from refmodel.tokenizer.charsmap import encoded_fault
from refmodel.tokenizer.library import refusals
from refmodel.tokenizer.merges import unfit
from refmodel.words import shown

_STEPS: Final = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_IN_A_ROW: Final = (("normalizer", "pre_tokenizer"), ("decoder",))
"""Steps that one text goes through."""
_MOST_GROWTH: Final = 2**12
"""A character becomes at most so many: each of a hundred steps may double what the ones before made."""


def read_tokenizer_json(path: Path) -> Tokenizer:
    """The tokenizer of a file.

    Raises `ValueError` in one line for a file that the library refuses, and before it for one that it reads and then
    fails on: a template of tokens that it does not describe, merges that the vocabulary does not have, an empty text to
    be replaced or put in front, a table of characters that leads outside itself, and steps that make a text longer and
    longer.
    """
    found = read_json(path)
    if fault := next(_faults(found), ""):
        raise ValueError(f"{path}: {fault}")
    with refusals(f"{path.parent}: no readable tokenizer.json here"):
        return Tokenizer.from_file(str(path))


def _faults(found: dict[str, Any]) -> Iterator[str]:
    for name in _STEPS:
        for step in _objects(found.get(name)):
            if "single" in step:
                yield from _template_faults(step)
            if step.get("prepend") == "":
                yield f"{name}: an empty text is put in front"
            if _is(step, "Precompiled", "precompiled_charsmap"):
                wrong = encoded_fault(step.get("precompiled_charsmap"))
                yield from [f"{name}: {wrong}"] * bool(wrong)
            pattern = step.get("pattern")
            if isinstance(pattern, dict) and "" in pattern.values():
                yield f"{name}: an empty pattern"
    for names in _IN_A_ROW:
        if math.prod(_growth(step) for name in names for step in _objects(found.get(name))) > _MOST_GROWTH:
            yield f"{' and '.join(names)}: their steps may make a text more than {_MOST_GROWTH:,} times as long"
    model = found.get("model")
    if isinstance(model, dict):
        yield from _merge_faults(model)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a value that is JSON, itself too."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _objects(one)


def _is(step: dict[str, Any], kind: str, field: str) -> bool:
    """Whether the library may take a step for one of that kind: by its field too, where its type says nothing."""
    return step.get("type") == kind or field in step


def _growth(step: dict[str, Any]) -> int:
    """Into how many characters a step turns one at most, of those steps that do."""
    if _is(step, "ByteLevel", "trim_offsets"):
        return 2  # bytes that are no letters of ASCII, as characters of two bytes
    content = step.get("content") if _is(step, "Replace", "pattern") else None
    return max(1, len(content)) if isinstance(content, str) else 1


def _template_faults(step: dict[str, Any]) -> Iterator[str]:
    described = step.get("special_tokens")
    names = set(described) if isinstance(described, dict) else set()
    for name in ("single", "pair"):
        for piece in _objects(step.get(name)):
            token, text = piece.get("SpecialToken"), piece.get("Sequence")
            if isinstance(token, dict) and str(token.get("id")) not in names:
                yield f"post_processor: its template holds {shown(str(token.get('id')))}, which it does not describe"
            if name == "single" and isinstance(text, dict) and text.get("id") != "A":
                yield "post_processor: its single template has a second text"


def _merge_faults(model: dict[str, Any]) -> Iterator[str]:
    """Of merges that are pairs of texts; others are refused by the library."""
    vocabulary, merges, prefix = (model.get(key) for key in ("vocab", "merges", "continuing_subword_prefix"))
    if isinstance(vocabulary, dict) and isinstance(merges, list):
        split = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
        pairs = [tuple(merge) for merge in split if isinstance(merge, list) and list(map(type, merge)) == [str, str]]
        if fault := unfit(vocabulary, pairs, prefix if isinstance(prefix, str) else ""):
            yield f"model: {fault}"
