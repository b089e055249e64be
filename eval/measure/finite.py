"""What no result is: logits with NaN or Inf in them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def refuse_no_numbers(outputs: tuple[jax.Array, Any]) -> None:
    """Raises `FloatingPointError` that counts NaN and Inf in the last token's logits, the first of `outputs`."""
    logits_bv, *_ = outputs
    wrong = int(np.count_nonzero(~np.isfinite(np.asarray(logits_bv))))
    if wrong:
        raise FloatingPointError(f"NaN or Inf in {wrong:,} of the {logits_bv.size:,} logits of the last token")
