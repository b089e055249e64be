"""What attention costs and what it is worth.

`compare` measures layouts against full attention, `compare_models` those of several models; `prefill_flops`,
`crossover_tokens` and `count_flops` are the arithmetic alone; `seen_keys` draws who saw whom, `weights_figure` how
much.  `eval.testing` tests a variant of one's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refmodel.beside import refuse_foreign

refuse_foreign("attention")

from attention.lazy import lazy_names  # noqa: E402

if TYPE_CHECKING:
    from eval.cost.crossover import crossover_tokens
    from eval.cost.flops.closed_form import prefill_flops
    from eval.cost.flops.traced import count_flops
    from eval.report.comparison import Comparison, compare
    from eval.report.several import Comparisons, compare_models
    from eval.report.weights_figure import weights_figure
    from eval.testing.visibility import seen_keys
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Comparison": "eval.report.comparison",
            "Comparisons": "eval.report.several",
            "compare": "eval.report.comparison",
            "compare_models": "eval.report.several",
            "count_flops": "eval.cost.flops.traced",
            "crossover_tokens": "eval.cost.crossover",
            "prefill_flops": "eval.cost.flops.closed_form",
            "seen_keys": "eval.testing.visibility",
            "weights_figure": "eval.report.weights_figure",
        },
    )

__all__ = [
    "Comparison", "Comparisons", "compare", "compare_models", "count_flops", "crossover_tokens", "prefill_flops",
    "seen_keys", "weights_figure",
]  # fmt: skip
