"""What is embedded: ids that the vocabulary has, looked at where somebody calls, and scaled as the family says."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import refmodel
from refmodel.ends import embed, embedded


@pytest.mark.parametrize("outside", [257, -1])
def test_an_id_outside_the_vocabulary_is_refused_outside_of_jit(outside):
    model = refmodel.load("tiny-dense")
    ids_bt = jnp.array([[2, outside, 1]])
    with pytest.raises(ValueError, match=f"token id {outside} is not in the vocabulary; accepted: 0 to 256"):
        embed(model.config, model.params, ids_bt)
    for looked_past in (jax.jit(embed, static_argnums=0), embedded):
        assert looked_past(model.config, model.params, ids_bt).shape == (1, 3, model.config.d_model)


def test_rows_of_the_embedding_times_its_scale():
    model = refmodel.load("tiny-dense")
    ids_t = jnp.array([256, 0, 3])
    scaled = dataclasses.replace(model.config, embedding_scale=3.0)
    want_td = 3 * np.asarray(model.params["embed"]["embedding"])[np.asarray(ids_t)]
    np.testing.assert_allclose(embed(scaled, model.params, ids_t), want_td, rtol=1e-6)
