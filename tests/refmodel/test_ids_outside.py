"""Ids that the vocabulary does not have, where a step takes them: refused, but at padding and inside of a program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from refmodel.cache import init_cache
from refmodel.model import hidden_states
from refmodel.presets import preset
from refmodel.weights.random import random_params

CONFIG = preset("tiny-dense")
PARAMS = random_params(CONFIG, 0, jnp.float32)
IDS = jnp.array([[2, 7, CONFIG.vocab_size]])


def hidden(ids_bt, positions_bt=None):
    return hidden_states(CONFIG, PARAMS, init_cache(CONFIG, 1, 3), ids_bt, positions_bt=positions_bt).final_btd


@pytest.mark.parametrize("position", [None, 2, 0])
def test_an_id_outside_of_the_vocabulary_is_refused(position):
    positions_bt = None if position is None else jnp.array([[0, 1, position]])
    with pytest.raises(ValueError, match="token id 257 is not in the vocabulary; accepted: 0 to 256"):
        hidden(IDS, positions_bt)


def test_what_stands_at_padding_may_be_anything():
    positions_bt = jnp.array([[0, 1, -1]])
    found, wanted = (hidden(ids_bt, positions_bt) for ids_bt in (IDS, IDS.at[0, 2].set(3)))
    assert (found[:, :2] == wanted[:, :2]).all()


def test_a_program_takes_ids_as_they_are():
    assert jnp.isfinite(jax.jit(hidden)(IDS)).all()
