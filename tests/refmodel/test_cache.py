"""The model's cache: what its layers' mixers hold, and what that takes."""

from __future__ import annotations

import pytest

from refmodel.cache import cache_bytes, init_cache
from refmodel.presets import preset


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="capacity_tokens must be a whole number of at least 1, got 0"):
        init_cache(preset("tiny-dense"), 1, 0)


def test_bytes_are_those_of_keys_and_values():
    config = preset("tiny-dense").with_layout("evict(h2o,budget=9,chunk=4,sinks=1)+full")  # 4 layers
    values = 2 * 3 * config.n_kv_heads * config.head_dim
    assert cache_bytes(config, init_cache(config, 3, 31)) == 2 * (9 + 4 + 31) * values * 4
