"""Logits that are no numbers end what they came of, and are counted."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from eval.measure.finite import refuse_no_numbers


def test_what_is_no_number_is_counted():
    fine = jnp.arange(15.0).reshape(3, 5)
    refuse_no_numbers((fine, "the cache"))
    wrong = fine.at[0, 1].set(jnp.nan).at[2, 4].set(jnp.inf).at[2, 0].set(-jnp.inf)
    with pytest.raises(FloatingPointError, match="NaN or Inf in 3 of the 15 logits of the last token"):
        refuse_no_numbers((wrong,))
