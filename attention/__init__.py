"""Who sees whom, and how that is computed.

`make` gives an attention variant by name, `parse_layout` one for each layer of a model; a new one is a subclass of
`Variant` whose `pattern` is a `SpanPattern`, and `register` makes it known by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention.lazy import lazy_names

if TYPE_CHECKING:
    from attention.extend import register
    from attention.layout import make, parse_layout
    from attention.pattern import SpanPattern
    from attention.variant import Variant
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "make": "attention.layout",
            "parse_layout": "attention.layout",
            "register": "attention.extend",
            "SpanPattern": "attention.pattern",
            "Variant": "attention.variant",
        },
    )

__all__ = ["SpanPattern", "Variant", "make", "parse_layout", "register"]
