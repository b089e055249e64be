"""What attention costs and what it is worth.

`compare` measures layouts against full attention; `prefill_flops`, `crossover_tokens` and `count_flops` are the
arithmetic alone; `seen_keys` draws who saw whom.  `eval.testing` tests a variant of one's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention.lazy import lazy_names

if TYPE_CHECKING:
    from eval.comparison import Comparison, compare
    from eval.crossover import crossover_tokens
    from eval.flops.closed_form import prefill_flops
    from eval.flops.traced import count_flops
    from eval.visibility import seen_keys

__all__ = ["Comparison", "compare", "count_flops", "crossover_tokens", "prefill_flops", "seen_keys"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Comparison": "eval.comparison",
        "compare": "eval.comparison",
        "count_flops": "eval.flops.traced",
        "crossover_tokens": "eval.crossover",
        "prefill_flops": "eval.flops.closed_form",
        "seen_keys": "eval.visibility",
    },
)
