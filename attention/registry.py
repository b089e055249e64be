"""What is known by name, and open to others: variants, policies, routers, families, backends, formats, metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Generic, TypeVar

from attention.unknown import unknown

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Things by name, in the order in which they came; the built-in ones come in through `register` too.

    Args:
        what: what one of them is called in messages: "attention variant".
        name_of: reads a thing's own name.

    Examples:
        >>> from fractions import Fraction
        >>> shares: Registry[Fraction] = Registry("share", str)
        >>> shares.register(Fraction(1, 2))
        Fraction(1, 2)
        >>> shares.find("1/2")
        Fraction(1, 2)
        >>> shares.find("1/3")
        Traceback (most recent call last):
            ...
        ValueError: no share '1/3' (did you mean '1/2'?); accepted: 1/2
    """

    def __init__(self, what: str, name_of: Callable[[T], str], things: Iterable[T] = ()) -> None:
        self.what, self._name_of = what, name_of
        self._things: dict[str, T] = {}
        for thing in things:
            self.register(thing)

    def register(self, thing: T) -> T:
        """Makes `thing` known by its name and returns it, so that it serves as a decorator.

        Raises `ValueError` where another thing has that name.  The same one again is fine, and so is a class or
        function that was defined again where it was before, as a cell of a notebook does: it takes the place.
        """
        name = self._name_of(thing)
        before = self._things.get(name, thing)
        if before is not thing and (_defined(before) is None or _defined(before) != _defined(thing)):
            raise ValueError(f"{self.what} {name!r} is there already: {before!r}")
        self._things[name] = thing
        return thing

    def find(self, name: str) -> T:
        """The thing of that name.  Raises `ValueError` in one line, with the nearest name and all that are known."""
        if not isinstance(name, str) or name not in self._things:
            raise ValueError(unknown(self.what, name, self._things))
        return self._things[name]

    @contextlib.contextmanager
    def temporarily(self, *things: T) -> Iterator[None]:
        """Registers `things` for the time of a `with` block; what else comes in meanwhile goes with them."""
        before = dict(self._things)
        try:
            for thing in things:
                self.register(thing)
            yield
        finally:
            self._things = before

    def __getitem__(self, name: str) -> T:
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


def _defined(thing: object) -> tuple[str, str] | None:
    """The module and name of a class or function; None of any other thing."""
    return (thing.__module__, thing.__qualname__) if isinstance(thing, type | FunctionType) else None
