"""Stored tensors put into leaves by tiles, of more and fewer rows and columns than one has: what numpy makes of all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.checkpoint.put import put
from refmodel.parameters import Parameter

ROWS = {
    "norm": Parameter("norm", ("embed",), (523,)),
    "embedding": Parameter("embedding", ("vocab", "embed"), (523, 7), ("embed",)),
    "into heads": Parameter("q", ("embed", "heads", "head_dim"), (1031, 3, 173), ("embed",)),
    "out of heads": Parameter("o", ("heads", "head_dim", "embed"), (3, 5, 523), ("heads", "head_dim")),
    "experts": Parameter("up", ("experts", "embed", "mlp"), (3, 7, 521), ("embed",), copies=3),
    "router": Parameter("router", ("embed", "experts"), (7, 11), ("embed",)),
}


@pytest.mark.parametrize("stored_in", [jnp.bfloat16, np.float32])
@pytest.mark.parametrize("kept_in", [jnp.bfloat16, np.float32])
@pytest.mark.parametrize("name", ROWS)
def test_a_part_is_the_stored_tensor_with_its_own_axes(name, stored_in, kept_in):
    row = ROWS[name]
    stored = np.random.default_rng(3).normal(size=row.stored_shape).astype(stored_in)
    part = np.full(row.shape, np.nan, kept_in)
    with ThreadPoolExecutor(2) as pool:
        wait(put(part, row, stored, pool))
    np.testing.assert_array_equal(part, row.from_stored(stored).astype(kept_in))
