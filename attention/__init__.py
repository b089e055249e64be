"""Who sees whom, and how that is computed.

`make` gives an attention variant by name, `parse_layout` one for each layer of a model; a new one is a subclass of
`Variant` whose `pattern` is a `SpanPattern`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention.lazy import lazy_names

if TYPE_CHECKING:
    from attention.layout import make, parse_layout
    from attention.pattern import SpanPattern
    from attention.variant import Variant

__all__ = ["SpanPattern", "Variant", "make", "parse_layout"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "make": "attention.layout",
        "parse_layout": "attention.layout",
        "SpanPattern": "attention.pattern",
        "Variant": "attention.variant",
    },
)
