"""Rates of prompts that nobody published, in the setups that others published rates of the model in.

A row of the length that is asked for, with a known row's model, quantisation, build and machine, is predicted from all
published rows as `eval.cost.validation` predicts rows that were left out, with the same intervals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from eval.cost.published import Measured
from eval.cost.validation import TABLE, Prediction, validate


def predicted_rates(rows: Sequence[Measured], model: str, lengths: Sequence[int], depth: int = 0) -> list[Prediction]:
    """Prompts of so many tokens after `depth` tokens of context, for each backend and file that rates are published of.

    Of several builds the one that was fastest on the longest published prompt, under the model's own layout.

    Args:
        rows: what is published, `eval.cost.published.published()`.

    Raises:
        ValueError: of a model that no prompt is published of.

    Examples:
        >>> from eval.cost.predicted_rates import predicted_rates
        >>> from eval.cost.published import published
        >>> rows = [row for row in published() if row.model == "qwen3-30b-a3b" and row.setup.backend == "ROCm"]
        >>> found = predicted_rates(rows, "qwen3-30b-a3b", [32_768])
        >>> [(one.row.quant, one.row.setup.cards) for one in found]
        [('BF16', 2), ('Q4_K_M', 1), ('UD-Q8_K_XL', 2)]
        >>> all(one.low < one.tokens_per_s < one.high for one in found)
        True
    """
    prompts = [row for row in rows if not row.decode]
    setups = _setups([row for row in prompts if row.model == model])
    if not setups:
        known = ", ".join(sorted({row.model for row in prompts}))
        raise ValueError(
            f"no rate of a prompt of {model} is published, to predict others from; there are some of {known}"
        )
    asked = [
        dataclasses.replace(setup, tokens=tokens, depth=depth, tokens_per_s=1.0, repeat_error=0.0)
        for setup in setups
        for tokens in lengths
    ]
    return validate(asked, prompts, (TABLE,))


def _setups(rows: Sequence[Measured]) -> list[Measured]:
    """For each backend, file, quantisation and number of cards the longest row, and of such the fastest."""
    found: dict[tuple[str, str, str, int], list[Measured]] = {}
    for row in rows:
        found.setdefault((row.setup.backend, row.name, row.quant, row.setup.cards), []).append(row)
    return [
        max(group, key=lambda row: (row.depth + row.tokens, row.tokens_per_s)) for _, group in sorted(found.items())
    ]
