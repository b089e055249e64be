"""The atlas: whole prompts by brute force, the roofline where compute binds, and every known model in its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.cost.atlas import CACHE_TOKENS, Whole, cost_per_token, place, roofline_crossover
from eval.cost.cards import CARDS
from eval.cost.crossover import FAR_TOKENS, attention_total, crossover_tokens
from eval.cost.flops.formats import Storage
from eval.cost.roofline import Assumptions
from eval.cost.sign_changes import sign_changes
from refmodel.decoder import decoder
from refmodel.presets import PRESETS, preset

BASE = preset("qwen3-30b-a3b")
R9700 = CARDS["r9700"]


def small(n_layers: int, d_ff: int, layout: str):
    return decoder("small", n_layers, 40, 5, 1, 8, 101, d_ff=d_ff).with_layout(layout)


@settings(max_examples=7)
@given(
    st.integers(1, 7), st.integers(1, 400), st.integers(1, 7), st.integers(1, 400),
    st.sampled_from(("full", "swa(61)", "5*swa(17)+full", "evict(keydiff, budget=53, chunk=29)")),
    st.sampled_from(("full", "swa(97)+full", "routed(7|full, router=periodic)")),
)  # fmt: skip
def test_whole_prompts_are_compared_as_by_brute_force(layers, width, other_layers, other_width, layout, other_layout):
    one, other = small(layers, width, layout), small(other_layers, other_width, other_layout)

    def whole(model, n: int) -> int:
        return int(attention_total(model, n)) + 2 * model.linear_macs * n

    dearer = [whole(one, n) > whole(other, n) for n in range(1, 400)]
    changed = np.flatnonzero(np.diff(dearer, prepend=False)) + 1
    found = sign_changes(Whole(one), Whole(other))
    assert [n for n in found.at if n < 400] == changed.tolist()


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("tiny")])
def test_where_compute_binds_the_roofline_says_what_flops_say(name):
    """Beyond a thousand tokens every weight is used often enough; attention reads its keys once for many queries."""
    found, counted = roofline_crossover(preset(name), R9700), crossover_tokens(preset(name))
    assert found == counted or (found and counted and abs(found - counted) <= 1)


def test_where_memory_binds_it_says_so():
    """Of a tiny model reading the weights takes longer than multiplying by them."""
    model = preset("tiny-moe")
    found = roofline_crossover(model, R9700)
    assert found is not None and crossover_tokens(model) is not None and found != crossover_tokens(model)


@pytest.mark.parametrize("layout", ["moba(512, topk=3)", "3*evict(snapkv, budget=1024, chunk=512)+full"])
def test_choosing_keys_is_attention_s(layout):
    model = preset("qwen3-0.6b").with_layout(layout)
    found, counted = roofline_crossover(model, R9700), crossover_tokens(model)
    assert found and counted and abs(found - counted) <= 1


def test_the_roofline_reads_weights_and_cache_as_they_are_stored():
    model, storage = preset("tiny-moe"), Storage("4bit", "8bit")
    found = roofline_crossover(model, R9700, Assumptions(storage=storage))
    assert place(model, BASE, R9700, storage).roofline_tokens == found != roofline_crossover(model, R9700)


@pytest.mark.parametrize("layout", ["full", "swa(61)+full", "evict(keydiff, budget=53, chunk=29)"])
def test_a_whole_prompt_is_the_sum_of_its_tokens(layout):
    whole = Whole(small(3, 41, layout))
    each = whole.by_token(0, 200)
    assert [whole.total(n) for n in (1, 53, 97, 200)] == [each[:n].sum() for n in (1, 53, 97, 200)]


def test_a_place_has_what_its_parts_say():
    model, storage = preset("gemma3-4b"), Storage("4bit", "8bit")
    found = place(model, BASE, R9700, storage)
    slots = 5 * CACHE_TOKENS + 29 * (1024 - 1)  # of 34 layers every sixth sees all
    assert found.cache_bytes == slots * 2 * 4 * 256
    assert found.linear_flops_per_token == 2 * model.linear_macs and found.limiting_share == 1
    room = R9700.memory_bytes - model.params / 2 - 29 * (1024 - 1) * 2 * 4 * 256
    assert found.fits_tokens == int(room // (5 * 2 * 4 * 256))
    (cheaper,) = found.cheaper_than_base.at
    assert cost_per_token(model, cheaper) < cost_per_token(BASE, cheaper)
    assert cost_per_token(model, cheaper - 1) >= cost_per_token(BASE, cheaper - 1)


def test_windows_in_every_layer_have_no_wall():
    assert roofline_crossover(preset("mistral-7b"), R9700) is None
    assert cost_per_token(preset("mistral-7b"), FAR_TOKENS) < cost_per_token(preset("mistral-7b-v0.3"), FAR_TOKENS)


@pytest.mark.parametrize(
    ("name", "tokens", "gflop"),
    [
        ("qwen3-30b-a3b", 13_888, 5.46), ("glm-4.7-flash", 13_556, 6.52), ("gpt-oss-20b", 61_349, 6.06),
        ("gemma4-26b-a4b", 70_201, 6.17), ("gemma4-31b", 173_647, 58.6), ("deepseek-v3.2", 28_574, 71.4),
    ],
)  # fmt: skip
def test_published_shapes_are_where_their_configurations_put_them(name, tokens, gflop):
    found = place(preset(name), BASE, R9700)
    assert found.crossings.first == tokens and round(found.linear_flops_per_token / 1e9, 2) == pytest.approx(
        gflop, 0.01
    )
