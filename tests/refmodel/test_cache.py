"""The model's cache: what its layers' mixers hold, and what that takes."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from refmodel.cache import cache_bytes, init_cache
from refmodel.presets import preset


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="capacity_tokens must be a whole number of at least 1, got 0"):
        init_cache(preset("tiny-dense"), 1, 0)


def test_an_empty_cache_has_a_layer_s_state_for_each_and_nothing_in_it():
    config = preset("tiny-dense").with_layout("swa(5)+3*full")
    for ragged, rows in ((False, 1), (True, 3)):
        cache = init_cache(config, 3, 31, jnp.bfloat16, ragged=ragged)
        assert int(cache.length) == 0 and not cache.length.shape
        assert [(run.keys.shape[:3], run.keys.dtype, run.positions.shape[:2]) for run in cache.runs] == [
            ((layers, 3, slots), jnp.bfloat16, (layers, rows)) for layers, slots in ((1, 4), (3, 31))
        ]


def test_bytes_are_those_of_keys_and_values():
    config = preset("tiny-dense").with_layout("evict(h2o,budget=9,chunk=4,sinks=1)+full")  # 4 layers
    values = 2 * 3 * config.n_kv_heads * config.head_dim
    assert cache_bytes(config, init_cache(config, 3, 31)) == 2 * (9 + 4 + 31) * values * 4
