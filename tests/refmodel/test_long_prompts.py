"""200,000 tokens on a CPU: bounded attention goes through them in chunks, in the memory of a chunk."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from refmodel.model import prefill
from refmodel.presets import preset
from refmodel.weights.random import random_params
from tests.compiling import AS_USERS_DO

pytestmark = pytest.mark.slow
CHUNK = 4096


@pytest.mark.parametrize("layout", ["swa(1024, sinks=4)", "evict(keydiff, budget=1024, chunk=512)"])
def test_a_prompt_of_200_000_tokens(layout):
    config = preset("tiny-dense").with_layout(layout)
    params = random_params(config, 0, jnp.float32)
    run = jax.jit(partial(prefill, config, chunk_tokens=CHUNK))

    def compiled(tokens: int):
        return run.lower(params, jax.ShapeDtypeStruct((1, tokens), jnp.int32)).compile(AS_USERS_DO)

    def beside_weights_bytes(program) -> int:
        planned = program.memory_analysis()
        return planned.temp_size_in_bytes + planned.output_size_in_bytes

    short, long = compiled(20_000), compiled(200_000)
    assert beside_weights_bytes(long) - beside_weights_bytes(short) < 64 * 180_000  # a few integers per token
    logits, cache = long(params, jax.random.randint(jax.random.key(1), (1, 200_000), 0, config.vocab_size))
    assert jnp.isfinite(logits).all() and int(cache.length) == 200_000
