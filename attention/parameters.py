"""How the parameters of a variant are written: one reader and one spelling per type of field."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, get_type_hints

from attention.pattern import UNBOUNDED
from attention.shorthand import count_written

Budget = int | float | Fraction
"""Keys, or as a float or a fraction below 1 a share of the prompt's: `4096`, `0.25`, `1/3`."""


class SpanRule(NamedTuple):
    """A span of `keys` + `share` · N keys, N the length of the whole sequence: `full`, `256`, `0.25N`, `64+1/3N`."""

    keys: int
    share: Fraction = Fraction(0)

    def at_length(self, total_tokens: int) -> int:
        """The span in keys, at least the query's own."""
        return min(max(1, self.keys + int(self.share * total_tokens)), UNBOUNDED)

    def __str__(self) -> str:
        if self.keys == UNBOUNDED:
            return "full"
        share = f"{_decimal(self.share)}N" if self.share else ""
        return share if share and not self.keys else f"{self.keys}+{share}" if share else str(self.keys)


@dataclass(frozen=True)
class Part:
    """Base of parameters that have a name and parameters of their own: policies, routers.

    A layout writes the name in the parameter's place, and what is its own among the others:
    `evict(random, budget=64, seed=3)`.
    """

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        refuse_hidden(cls)


def refuse_hidden(kind: type) -> None:
    """Raises `ValueError` where a parameter of a new class has the name of a method that it inherits.

    The value would stand where others call the method: a variant's `step`, a policy's `window`.
    """
    for name in inspect.get_annotations(kind):
        for base in kind.__mro__[1:]:
            if callable(found := vars(base).get(name)) or isinstance(found, property):
                raise ValueError(
                    f"{kind.__name__}: a parameter {name!r} would hide {base.__name__}.{name}; name it otherwise"
                )


def _decimal(share: Fraction) -> str:
    """0.25, and 1/3 where decimals would not end."""
    exact = Decimal(share.numerator) / share.denominator
    return f"{exact:f}" if Fraction(exact) == share else str(share)


def spelling(value: Any) -> str:
    """A parameter as layouts write it; `read_parameter` reads it back."""
    if isinstance(value, Part):
        return value.name
    if isinstance(value, Fraction):
        return _decimal(value)
    if isinstance(value, tuple) and not isinstance(value, SpanRule):
        return "|".join("full" if one == UNBOUNDED else str(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def written(thing: Any) -> list[str]:
    """The parameters of a dataclass as a call writes them: those without a default by their place, others by name where
    they are not at their default, last what its parts have of their own."""
    words, of_parts = [], []
    for f in dataclasses.fields(thing):
        value = getattr(thing, f.name)
        if f.default is dataclasses.MISSING:
            words.append(spelling(value))
        elif value != f.default:
            words.append(f"{f.name}={spelling(value)}")
        if isinstance(value, Part):
            own = ((g, getattr(value, g.name)) for g in dataclasses.fields(value))
            of_parts += [
                f"{g.name}={spelling(x)}" for g, x in own if g.default is dataclasses.MISSING or x != g.default
            ]
    return words + of_parts


def parameter_types(variant: type) -> Mapping[str, Any]:
    """The type of each field of a dataclass, whether its module postpones annotations (and keeps them as text) or not.

    Examples:
        >>> from attention.sliding_window import SlidingWindow
        >>> dict(parameter_types(SlidingWindow))
        {'window': <class 'int'>, 'sinks': <class 'int'>}
    """
    return _resolved_types(variant)


@cache  # a layout's text is read many times, and resolving annotations would be most of that
def _resolved_types(variant: type) -> Mapping[str, Any]:
    hints = get_type_hints(variant)
    return MappingProxyType({field.name: hints[field.name] for field in dataclasses.fields(variant)})


def read_parameter(kind: Any, text: str) -> Any:
    """A value of type `kind`, one of `READABLE`; raises `ValueError` that says what is wanted."""
    wanted, read = _READERS[kind]
    try:
        return read(text.strip())
    except ValueError as error:
        raise ValueError(f"must be {wanted}, got {text.strip()!r}") from error


def _whole(text: str) -> int:
    return -count_written(text[1:]) if text.startswith("-") else count_written(text)


def _budget(text: str) -> int | Fraction:
    if not re.fullmatch(r"0*\.\d+|\d+/\d+|\d*\.?\d+e-\d{1,3}", text):  # 5e-05 is how Python writes a small float
        return _whole(text)
    _, _, denominator = text.partition("/")
    share = Fraction(0) if denominator and not int(denominator) else Fraction(text)
    if not 0 < share < 1:
        raise ValueError(text)
    return share


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _word(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][\w.-]*", text):
        raise ValueError(text)
    return text.lower()


def _span(text: str) -> int:
    return UNBOUNDED if text.lower() == "full" else _whole(text)


def _spans(text: str) -> tuple[int, ...]:
    return tuple(_span(part.strip()) for part in text.split("|"))


def _rule(text: str) -> SpanRule:
    if text.lower() == "full":
        return SpanRule(UNBOUNDED)
    found = re.fullmatch(r"(?:(\d+)(?:\s*\+\s*(?=[\d.])|$))?(?:(\d+/\d+|\d*\.?\d+)\s*[nN])?", text)
    if not found or not text:
        raise ValueError(text)
    try:
        return SpanRule(int(found[1] or 0), Fraction(found[2] or 0))
    except ZeroDivisionError as error:
        raise ValueError(text) from error


def _rules(text: str) -> tuple[SpanRule, ...]:
    return tuple(_rule(part.strip()) for part in text.split("|"))


_READERS: Final[MappingProxyType[Any, tuple[str, Callable[[str], Any]]]] = MappingProxyType(
    {
        int: ("a whole number", _whole),
        int | None: ("a whole number", _whole),
        Budget: ("a whole number, or a share of the prompt below 1 such as 0.25 or 1/3", _budget),
        bool: ("true or false", _yes_or_no),
        float: ("a number", float),
        str: ("a name", _word),
        tuple[int, ...]: ("spans like 256|2048|full", _spans),
        tuple[SpanRule, ...]: ("spans like 256|64+0.25N|full", _rules),
    }
)

READABLE: Final = tuple(_READERS)
"""Types that a parameter of a layout may have."""
