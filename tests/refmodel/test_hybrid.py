"""Models with Gated DeltaNet layers: any cut of a prompt, ragged rows, layouts, counts."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import refmodel
from eval.cost.cards import CARDS
from eval.cost.crossover import crossover_tokens
from eval.cost.flops.closed_form import steps_flops
from eval.cost.flops.cross_check import cross_check
from eval.cost.flops.traffic import kv_bytes_per_token, kv_cache_bytes, steps_bytes
from eval.cost.roofline import decode_crossover_tokens, floors
from eval.measure import cells
from eval.measure.default_sweep import usual_sweep
from refmodel.cache import cache_bytes, init_cache
from refmodel.model import prefill, step
from refmodel.presets import preset
from refmodel.schedule import Step, prefill_steps
from refmodel.weights.random import random_params

pytestmark = pytest.mark.usefixtures("fast_compile")

HYBRID = preset("tiny-hybrid")
SMALL = "delta(key_heads=2, value_heads=4, key_dim=8, value_dim=12)"
TOKENS = 71
run = jax.jit(prefill, static_argnums=0, static_argnames=("logits", "chunk_tokens", "capacity_tokens"))
decode = jax.jit(step, static_argnums=0, static_argnames=("logits",))


@pytest.fixture(scope="module")
def params():
    return random_params(HYBRID, 3, jnp.float32)


def test_chunks_and_decode_are_one_step(params):
    tokens_bt = jnp.arange(2 * TOKENS).reshape(2, TOKENS)
    one_step, _ = run(HYBRID, params, tokens_bt, logits="all")
    chunks, cache = run(HYBRID, params, tokens_bt[:, :68], chunk_tokens=31, capacity_tokens=TOKENS, logits="all")
    chex.assert_trees_all_close(chunks, one_step[:, 62:68], atol=5e-5)
    for t in range(68, TOKENS):
        logits_bv, cache = decode(HYBRID, params, cache, tokens_bt[:, t : t + 1])
        chex.assert_trees_all_close(logits_bv, one_step[:, t], atol=5e-5)


def test_ragged_rows_are_each_what_they_are_alone(params):
    rng = np.random.default_rng(0)
    lengths, room = (13, 29, 1), 29
    tokens, positions = rng.integers(0, 257, (3, room)), np.full((3, room), -1, np.int32)
    for row, length in enumerate(lengths):  # the padding before the tokens, among them, and after them
        at = np.sort(rng.permutation(room)[:length])
        positions[row, at] = np.arange(length)
    cache = init_cache(HYBRID, 3, room, ragged=True)
    logits_btv, cache = decode(
        HYBRID, params, cache, jnp.asarray(tokens), positions_bt=jnp.asarray(positions), logits="all"
    )
    for row in range(3):
        own = tokens[row, positions[row] >= 0][None]
        alone, _ = run(HYBRID, params, jnp.asarray(own), logits="all")
        chex.assert_trees_all_close(logits_btv[row, positions[row] >= 0], alone[0], atol=5e-5)


@pytest.mark.parametrize("place", [1, 40, 64])
def test_a_changed_token_changes_no_logit_before_it(params, place):
    tokens_bt = jnp.arange(TOKENS)[None]
    before, after = (
        np.asarray(run(HYBRID, params, x, logits="all")[0])[0] for x in (tokens_bt, tokens_bt.at[:, place].add(7))
    )
    np.testing.assert_array_equal(before[:place], after[:place])
    assert (before[place:] != after[place:]).any(-1).all()


@pytest.mark.parametrize(
    "steps", [prefill_steps(TOKENS), prefill_steps(60, 20), (Step(1, TOKENS),), (Step(3, TOKENS),)],
    ids=["one step", "chunks", "decode", "a few"],
)  # fmt: skip
def test_closed_form_is_what_is_traced_and_compiled(steps):
    """Two cycles: of one XLA drops what the last layer puts out in all chunks but the last."""
    config = dataclasses.replace(HYBRID, layers=2 * HYBRID.layers)
    check = cross_check(config, steps)
    assert check.faults == [] and steps_flops(config, steps, count="executed")["linear_attention"] > 0


def test_a_layout_that_names_delta_is_every_layers_and_one_that_does_not_is_the_others():
    assert HYBRID.with_layout("swa(5)").layout_name == f"3*{SMALL}+swa(5)"
    assert HYBRID.with_layout(f"swa(5)+{SMALL}").layout_name == f"swa(5)+{SMALL}"
    assert HYBRID.with_layout(HYBRID.layout) == HYBRID and HYBRID.stacks == ("delta_moe",) * 3 + ("moe",)
    with pytest.raises(ValueError, match="got 4 entries for 1 layers"):
        HYBRID.with_layout(["full"] * 4)


def test_the_presets_cross_where_their_layers_of_a_state_count_with_the_linear_ones():
    """10·16·256·4·N(N+1)/2 of attention against 2 · 2.485e9 multiply-accumulates a token."""
    assert [crossover_tokens(preset(name)) for name in ("qwen3.5-35b-a3b", "qwen3-next-80b-a3b")] == [60_666, 67_322]
    assert crossover_tokens(preset("qwen3-30b-a3b").with_layout("delta")) is None


def test_its_states_are_counted_in_bytes():
    for config in (HYBRID, preset("tiny-dense").with_layout(f"{SMALL}+swa(5)")):
        assert kv_cache_bytes(config, 31, "f32") == cache_bytes(config, init_cache(config, 1, 31))
    assert kv_bytes_per_token(HYBRID, "f32") == 4 * 2 * 2 * 16


def test_states_move_with_the_layers_that_they_belong_to():
    """Read and written, in float32; a model of nothing else has no attention that could be dear."""
    whole = HYBRID.with_layout(SMALL)
    state_bytes = 4 * sum(layer.mixer.state_values(layer.heads) for layer in whole.layers)
    step = (Step(1, TOKENS),)
    moved, weights = steps_bytes(whole, step), sum(row.macs for one in whole.layers for row in one.products
                                                   if row.component == "linear_attention")  # fmt: skip
    assert "attention" not in moved and moved["linear_attention"] == 2 * state_bytes + 2 * weights
    assert floors(whole, step, CARDS["r9700"])["linear_attention"].moved_bytes == moved["linear_attention"]
    assert decode_crossover_tokens(whole) is None


def test_a_model_of_deltas_alone_says_what_a_layout_for_it_names():
    with pytest.raises(ValueError, match=r"tiny-hybrid has no layer that attends: a layout for it names delta"):
        HYBRID.with_layout(SMALL).with_layout("full")


def test_layers_of_a_prefill_on_a_gpu_are_counted_once(monkeypatch):
    """DeltaNet layers are linear ones: not among attention as well."""
    model = refmodel.load("tiny-hybrid")
    sweep = usual_sweep(model, ["full"], [31])
    asked = []
    monkeypatch.setattr(cells, "on_gpu", lambda: True)
    monkeypatch.setattr(cells, "_executed_flops", lambda sweep, variant, tokens: asked.append(str(variant)) or 7)
    monkeypatch.setattr(cells, "_selection_flops", lambda *_: 0)
    found = cells._flops(sweep, model.config, 31)
    assert asked == ["full"] and found.executed["attention"] == 7
    assert (
        found.executed["linear_attention"]
        == steps_flops(HYBRID, prefill_steps(31), count="executed")["linear_attention"]
    )


def test_what_random_weights_have_stays_where_other_layers_of_the_stack_lack_it():
    model = refmodel.load("tiny-hybrid")
    swapped = model.with_layout(f"2*{SMALL}+2*full")
    before, after = (one.params["blocks"]["moe"]["attn"]["q"] for one in (model, swapped))
    assert len(before) == 1 and len(after) == 2
    chex.assert_trees_all_equal(after[1], before[0])
    assert (after[0] != before[0]).any()


def test_random_weights_take_delta_and_what_stays_moves_along():
    model = refmodel.load("tiny-dense")
    swapped = model.with_layout(f"{SMALL}+full")
    before, after = model.params["blocks"], swapped.params["blocks"]
    chex.assert_trees_all_equal(after["delta_dense"]["ffn"]["gate"], before["dense"]["ffn"]["gate"][::2])
    chex.assert_trees_all_equal(after["dense"]["attn"]["q"], before["dense"]["attn"]["q"][1::2])
    assert jnp.isfinite(swapped.prefill([3, 1, 4, 1, 5])[0]).all()


def test_a_checkpoint_without_its_weights_refuses_in_a_line():
    model = refmodel.load()
    with pytest.raises(
        ValueError, match=r"smollm2-135m has no weights for delta in layer 0 .* is trained with the model"
    ):
        model.with_layout("delta+full")
