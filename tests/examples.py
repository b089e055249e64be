"""One spelling or more of every registered variant: each generic test runs over all of them."""

from __future__ import annotations

EXAMPLES = ("full", "swa(1)", "swa(13)", "swa(7, sinks=2)", "evict(knorm, budget=16, chunk=8)", "evict_after(h2o, budget=16)")
