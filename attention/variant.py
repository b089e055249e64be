"""What an attention variant is: a name, its parameters and the pattern that they imply."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from attention.pattern import SpanPattern


@dataclass(frozen=True)
class Variant:
    """Base of the variants: a frozen dataclass whose fields are the parameters that a layout string may give.

    A new variant is a subclass in a file of its own and one line in `attention.registry`.
    `str(variant)` is its canonical spelling, which parses back to an equal variant.
    """

    name: ClassVar[str]

    def pattern(self) -> SpanPattern:
        """Who sees whom under this variant."""
        raise NotImplementedError

    def __str__(self) -> str:
        fields = dataclasses.fields(self)
        given = [f for f in fields if f.default is dataclasses.MISSING or getattr(self, f.name) != f.default]
        words = [
            str(getattr(self, f.name)) if f.default is dataclasses.MISSING else f"{f.name}={getattr(self, f.name)}"
            for f in given
        ]
        return f"{self.name}({', '.join(words)})" if words else self.name
