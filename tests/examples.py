"""One spelling or more of every registered variant: each generic test runs over all of them."""

from __future__ import annotations

from attention.layout import parse_variant
from attention.variants import VARIANTS

EXAMPLES = (*(variant.example for variant in VARIANTS.values()), "swa(1)", "swa(13)")

ATTENDING = tuple(text for text in EXAMPLES if parse_variant(text).component == "attention")
"""Those that are softmax attention; the others have a state and no pairs."""
