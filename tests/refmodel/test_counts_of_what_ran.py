"""Useful counts of every variant against an observer of real runs: which weights of attention are not zero.

Neither closed form, nor trace, nor any mask of the project takes part: values that are one-hot show the weights.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from attention.attend import attend
from attention.attended import Attended
from attention.eviction.h2o import H2O
from attention.eviction.registry import POLICIES
from eval.cost.flops.closed_form import steps_flops
from refmodel.decoder import decoder
from refmodel.model import prefill, step
from refmodel.schedule import Step, decode_steps, prefill_steps
from refmodel.weights.random import random_params
from tests.examples import ATTENDING

pytestmark = pytest.mark.usefixtures("fast_compile")

SHAPE = decoder("x", 3, 12, 4, 2, 6, 61, d_ff=8)
PROMPT, NEW = 29, 4


def visible_pairs(q: jax.Array, k: jax.Array, *positions_and_pattern) -> jax.Array:
    """Weights that are not zero, of all query heads, read through values that are one-hot, some slots at a time."""
    (batch, slots, n_kv_heads, head_dim), pairs = k.shape, jnp.int32(0)
    for first in range(0, slots, head_dim):
        one_hot = jnp.eye(slots, head_dim, -first)[None, :, None]
        values = jnp.broadcast_to(one_hot, (batch, slots, n_kv_heads, head_dim))
        pairs += (attend(q, k, values, *positions_and_pattern, impl="dense").out_btnh > 0).sum()
    return pairs


class Observer:
    """Stands in for `attend`: computes the same, and adds up the pairs that had a weight."""

    def __init__(self) -> None:
        self.pairs = 0

    def add(self, pairs: jax.Array) -> None:
        self.pairs += int(pairs)

    def attend(self, q, k, v, q_pos, kv_pos, pattern, **options) -> Attended:
        jax.debug.callback(self.add, visible_pairs(q, k, q_pos, kv_pos, pattern))
        return attend(q, k, v, q_pos, kv_pos, pattern, **{**options, "impl": "dense"})


def observed(layout: str, prompt: int, new: int, chunk: int | None = None) -> list[tuple[tuple[Step, ...], int]]:
    """Steps, and the pairs that were seen in them: the prompt, then each token alone."""
    observer = Observer()
    config = SHAPE.with_layout(layout).at_length(prompt + new)
    params = random_params(config, 0, jnp.float32)
    tokens_bt = jax.random.randint(jax.random.key(1), (1, prompt + new), 0, 61)
    sizes = {"capacity_tokens": prompt + new, "chunk_tokens": chunk}
    feed = jax.jit(partial(step, config, attend=observer.attend))
    _, cache = jax.jit(partial(prefill, config, attend=observer.attend, **sizes))(params, tokens_bt[:, :prompt])
    jax.effects_barrier()
    found = [(prefill_steps(prompt, chunk, prompt + new), observer.pairs)]
    for one in decode_steps(prompt, new):
        observer.pairs = 0
        _, cache = feed(params, cache, tokens_bt[:, one.start : one.start + 1])
        jax.effects_barrier()
        found.append(((one,), observer.pairs))
    return found


def check(layout: str, prompt: int = PROMPT, new: int = NEW, chunk: int | None = None) -> None:
    config = SHAPE.with_layout(layout)
    for steps, pairs in observed(layout, prompt, new, chunk):
        assert steps_flops(config, steps)["attention"] == 4 * SHAPE.head_dim * pairs, steps


SMALL = {"lagkv": "budget=13,sinks=1,recent=3", "adakv": "budget=12,sinks=1,recent=3"}


def small(policy: str) -> str:
    return f"{policy},{SMALL.get(policy, 'budget=11,sinks=2,recent=3')}"


@pytest.mark.parametrize("layout", [*ATTENDING, "2*swa(5,sinks=2)+full"])
@pytest.mark.parametrize("chunk", [None, 12])
def test_pairs_of_variants(layout: str, chunk: int | None) -> None:
    if layout.startswith("evict_after"):
        chunk = None
    check(layout, chunk=chunk)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_pairs_of_eviction_between_chunks(policy: str) -> None:
    check(f"evict({small(policy)},chunk=6)", chunk=12)


@pytest.mark.parametrize("prompt", [11, 12, PROMPT])
@pytest.mark.parametrize("policy", ["h2o", "adakv", "pyramidkv"])
def test_pairs_of_decode_after_eviction(policy: str, prompt: int) -> None:
    """Budget and tokens since, in layers of one budget, of budgets by head and of budgets by layer."""
    check(f"evict_after({small(policy)})", prompt, NEW)


def test_decode_after_eviction_sees_its_budget_and_all_tokens_since() -> None:
    model = SHAPE.with_layout("evict_after(snapkv, budget=4096)")
    for new in (1, 512, 4096):
        pairs = sum(4096 + i + 1 for i in range(new))
        assert steps_flops(model, decode_steps(16_384, new))["attention"] == 4 * 6 * 4 * 3 * pairs


@pytest.mark.parametrize(
    ("layout", "prompt", "seen"),
    [
        ("evict(h2o,budget=11,chunk=6)", PROMPT, (True, True)),
        ("evict_after(h2o,budget=11)", PROMPT, (True, False)),
        ("evict_after(h2o,budget=11)", 11, (False, False)),
    ],
)
def test_selection_of_h2o_is_a_product_for_each_pair_that_it_watches(layout, prompt, seen, monkeypatch) -> None:
    """And after the only event, or where none comes, it watches nothing: neither is it run, nor counted."""
    watched, original = [], H2O.observe

    def observe(self, state, queries, cached):
        visible = cached.valid_bks[:, :, None] & (cached.slot_s <= queries.slot_t[:, None])
        visible = jnp.broadcast_to(visible, (1, 2, *visible.shape[2:]))
        jax.debug.callback(lambda pairs: watched.append(2 * int(pairs)), visible.sum())  # two heads read each key
        return original(self, state, queries, cached)

    monkeypatch.setattr(H2O, "observe", observe)
    total = 0
    for steps, pairs in observed(layout, prompt, NEW):
        total += steps_flops(SHAPE.with_layout(layout), steps).get("selection", 0)
        expected = seen[steps[0].start > 0]
        assert steps_flops(SHAPE.with_layout(layout), steps).get("selection", 0) == 2 * 6 * pairs * expected
    assert total == 2 * 6 * sum(watched)
