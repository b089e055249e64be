"""Checked look-ups in the settings of a checkpoint file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from refmodel.words import brief, shown

T = TypeVar("T")
_REQUIRED: Final = object()

MOST_WHOLE: Final = 2**31 - 1
"""Of any whole number of a file: positions are counted in 32 bits, and no size of a model comes near."""

LEAST_ABOVE_0: Final = 1e-30
MOST_NUMBER: Final = 1e30
"""What float32 holds, and its reciprocal."""


@dataclass(frozen=True)
class Fields:
    """The settings of one file, config.json or GGUF metadata; a null counts as absent.

    `where` names the file in every message.
    """

    values: Mapping[str, Any]
    where: str

    def get(self, key: str, kind: type, default: Any = _REQUIRED) -> Any:
        """The value of `key`, an instance of `kind` (a whole number passes as a float), or `default` if absent.

        Raises `ValueError` for another type, for a whole number of more than 32 bits where one is wanted, for one that
        no float holds, and for an absent key without a default.
        """
        value = self.values.get(key)
        if value is None:
            if default is _REQUIRED:
                raise ValueError(f"{self.where}: {key} is missing")
            return default
        wanted = (int, float) if kind is float else (kind,)
        if type(value) not in wanted:
            raise ValueError(f"{self.where}: {key} must be of type {kind.__name__}, got {brief(value)}")
        if kind is float:
            try:
                return float(value)
            except OverflowError as error:
                raise ValueError(
                    f"{self.where}: {key} must be a number that floats hold, got {brief(value)}"
                ) from error
        if kind is int and not -MOST_WHOLE - 1 <= value <= MOST_WHOLE:
            raise ValueError(f"{self.where}: {key} must be a whole number of 32 bits, got {brief(value)}")
        return value

    def with_defaults(self, defaults: Mapping[str, Any]) -> Fields:
        """The same with what a file means by a field that it does not speak of; a null that it holds stays one."""
        return Fields({**defaults, **self.values}, self.where)

    def require(self, key: str, *accepted: Any) -> None:
        """Raises `ValueError` unless `key` is absent or holds one of the accepted values."""
        value = self.values.get(key)
        if value is not None and value not in accepted:
            spelled = ", ".join(repr(one) for one in accepted)
            raise ValueError(f"{self.where}: {key} is {brief(value)}; accepted: {spelled}")

    def above_0(self, key: str, default: Any = _REQUIRED) -> float:
        """The number of `key`, which is above 0 and such that float32 holds it and its reciprocal."""
        value: float = self.get(key, float, default)
        if not value > 0:
            raise ValueError(f"{self.where}: {key} must be above 0, got {value}")
        return self.within(key, LEAST_ABOVE_0, MOST_NUMBER, default)

    def within(self, key: str, least: float, most: float, default: Any = _REQUIRED, kind: type = float) -> Any:
        """The number of `key`, of type `kind`, from `least` to `most`."""
        value = self.get(key, kind, default)
        if not least <= value <= most:
            raise ValueError(f"{self.where}: {key} must be from {least:,} to {most:,}, got {value}")
        return value

    def refuse_others(self, accepted: Collection[str]) -> None:
        """Raises `ValueError` for a field that is not known to change nothing."""
        if others := sorted(self.values.keys() - set(accepted)):
            raise ValueError(f"{self.where} holds {shown(others[0])}; accepted: {', '.join(sorted(accepted))}")

    def objection(self, key: str, *accepted: Any) -> str:
        """What `require` would raise, in words; empty where it would not."""
        return told(lambda: self.require(key, *accepted), None)[1]

    def choice(self, key: str, *accepted: str) -> str:
        """The value of `key`, one of the accepted; raises `ValueError` otherwise."""
        self.require(key, *accepted)
        return self.get(key, str)


def told(read: Callable[[], T], otherwise: T) -> tuple[T, str]:
    """What `read` gives, or `otherwise` and its `ValueError` in words: for what costs can be counted without."""
    try:
        return read(), ""
    except ValueError as error:
        return otherwise, str(error)


def naming(where: str, read: Callable[[], T]) -> T:
    """What `read` gives; its `ValueError` begins with `where`, whoever raised it."""
    try:
        return read()
    except ValueError as error:
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where}: {error}") from error
