"""What a prompt takes beside its weights, from the compiler: nothing grows as N², and an eviction bounds the cache."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from refmodel.model import prefill
from refmodel.presets import preset
from refmodel.tree import abstract_params
from tests.compiling import AS_USERS_DO

CHUNK = 256


def memory_bytes(layout: str, tokens: int, chunk_tokens: int | None = None) -> int:
    """Temporaries and outputs: logits and the cache."""
    config = preset("tiny-dense").with_layout(layout)
    prompt = jax.ShapeDtypeStruct((1, tokens), jnp.int32)
    run = jax.jit(partial(prefill, config, chunk_tokens=chunk_tokens))
    analysis = run.lower(abstract_params(config), prompt).compile(AS_USERS_DO).memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout", ["swa(1024)", "routed(256|full,router=periodic)", "evict(knorm,budget=512,chunk=256)"]
)
def test_memory_of_a_prompt_is_linear_in_its_length(layout):
    shorter, longer = (memory_bytes(layout, tokens) for tokens in (16_384, 32_768))
    assert longer < 2.05 * shorter


@pytest.mark.parametrize(
    "policy", [pytest.param("knorm", marks=pytest.mark.long), pytest.param("h2o", marks=pytest.mark.slow)]
)
def test_an_evicted_prompt_in_chunks_takes_its_budget_and_no_more(policy):
    """Per token of the prompt a few integers; per slot of the budget its keys and values in every layer, and as much
    again, or twice, where an event moves them."""
    config = preset("tiny-dense")
    layout = "evict({},budget={},chunk=256,sinks=0,recent=32)".format
    here = partial(memory_bytes, chunk_tokens=CHUNK)
    short, long = (here(layout(policy, 1024), tokens) for tokens in (8192, 16_384))
    assert long - short < 64 * 8192
    slot_bytes = 2 * 4 * config.n_layers * config.n_kv_heads * config.head_dim
    slope_bytes = (here(layout(policy, 3072), 16_384) - long) / 2048
    assert slot_bytes <= slope_bytes < 6 * slot_bytes
    everything = here("full", 16_384)
    assert long < everything / 2
