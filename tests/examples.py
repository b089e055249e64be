"""One spelling or more of every registered variant: each generic test runs over all of them."""

from __future__ import annotations

from attention.variants import VARIANTS

EXAMPLES = (*(variant.example for variant in VARIANTS.values()), "swa(1)", "swa(13)")
