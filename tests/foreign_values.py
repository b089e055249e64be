"""Mutants of files that are JSON or TOML: an entry that is missing, foreign, somewhere else or torn."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from typing import Any

FOREIGN = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(2**63), 2**64, 10**40, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e29, 1e308,
    math.nan, math.inf, -math.inf, "", " ", "x", "full", "swa(0)", "swa(999999999999999999999)", "0*full", "None",
    "null", "1", "\u2028", "\udc80", "a\nb", "x" * 5_000, [], {}, [[]], [{}], {"": ""}, [None], [0], ["x"], [math.nan],
    {"a": [{"b": 1}]},
)  # fmt: skip


def mutated(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value, changed in one place or two."""
    found = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2))):
        if not (places := _places(found)):
            break
        holder, key = rng.choice(places)
        rng.choice((_foreign, _foreign, _foreign, _missing, _twice, _moved))(found, holder, key, rng)
    return found


def mutated_text(text: str | bytes, rng: random.Random) -> bytes:
    """The bytes of a text, torn, flipped or grown in one place."""
    content = bytearray(text.encode() if isinstance(text, str) else text)
    place, kind = rng.randrange(len(content)), rng.randrange(5)
    if kind == 0:
        del content[place:]
    elif kind == 1:
        content[place] ^= 1 << rng.randrange(8)
    elif kind == 2:
        content[place:place] = rng.choice((b"[" * 5_000, b'{"a":' * 5_000, b"9" * 5_000, b"\xff", b"\x00", b'"', b"-"))
    elif kind == 3:
        del content[place : place + rng.randrange(1, 9)]
    else:
        content[place:place] = content[place : place + rng.randrange(1, 99)]
    return bytes(content)


def as_json(value: Any) -> str:
    """Also NaN, infinities and half a character."""
    return json.dumps(value)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every entry of every object and list inside, as its holder and its key."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in entries for place in ((value, key), *_places(one))]


Change = Callable[[Any, Any, Any, random.Random], None]


def _foreign(_: Any, holder: Any, key: Any, rng: random.Random) -> None:
    there = key in holder if isinstance(holder, dict) else key < len(holder)
    if not there:
        return
    one = holder[key]
    small = isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e300
    scaled = [one * 10**9, -one, one + 0.5] if small else []
    holder[key] = copy.deepcopy(rng.choice((*FOREIGN, *scaled)))


def _missing(_: Any, holder: Any, key: Any, rng: random.Random) -> None:
    if isinstance(holder, list):
        del holder[key:]
    else:
        holder.pop(key, None)


def _twice(_: Any, holder: Any, key: Any, rng: random.Random) -> None:
    """Under another name, or again."""
    if isinstance(holder, list):
        holder += holder[-1:] * rng.choice((1, 99))
    else:
        holder[rng.choice(("", "nmae", f"{key}s", "schema"))] = copy.deepcopy(holder.get(key))


def _moved(whole: Any, holder: Any, key: Any, rng: random.Random) -> None:
    other, place = rng.choice(_places(whole))
    if isinstance(holder, dict):
        holder[key] = copy.deepcopy(other[place])
