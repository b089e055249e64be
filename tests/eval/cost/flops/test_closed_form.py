"""The closed form against brute force: the dense mask for pairs, the parameter tree for everything linear."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attended import Attended
from attention.cost import step_positions
from attention.kernels.row_tiles import choose_row_tile, tile_rows
from attention.kv_cache import LayerCache, extend
from attention.layout import parse_variant
from attention.mask import dense_mask
from attention.stacked import as_array
from eval.cost.flops.closed_form import attention_flops, linear_flops, prefill_flops, steps_flops
from refmodel.cache import init_cache
from refmodel.presets import PRESETS, RUNNING, preset
from refmodel.schedule import Step, decode_steps, prefill_steps
from refmodel.specification import ModelConfig
from refmodel.tree import abstract_params, leaves_by_path

VARIANTS = ("full", "swa(1)", "swa(7)", "swa(5, sinks=3)", "swa(64)")
SCHEDULES = {
    "one-shot": prefill_steps(23),
    "chunks": prefill_steps(23, 5),
    "decode": decode_steps(19, 3),
    "later": (Step(11, 13, 31),),
}


@functools.cache
def _masked_pairs(variant: str, n_heads: int, step: Step) -> int:
    """Visible pairs by looking at every one of them, all earlier keys present."""
    q_pos = np.arange(step.start, step.start + step.tokens)
    kv_pos = np.arange(step.start + step.tokens)
    return int(dense_mask(parse_variant(variant).pattern(), q_pos[None], kv_pos[None, None], n_heads).sum())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", PRESETS)
def test_useful_attention_is_the_dense_mask_counted(name: str, variant: str, schedule: str) -> None:
    model = preset(name).with_layout(variant)
    steps = SCHEDULES[schedule]
    expected = sum(
        4 * layer.heads.head_dim * sum(_masked_pairs(variant, layer.heads.n_heads, step) for step in steps)
        for layer in model.layers
        if layer.attends
    )
    assert steps_flops(model, steps)["attention"] == expected


@pytest.mark.parametrize("name", RUNNING)
def test_linear_parts_are_the_parameter_tree_multiplied(name: str) -> None:
    config, tokens = PRESETS[name], 23
    flops = prefill_flops(config, tokens)
    macs = {"attention_projections": 0, "router": 0, "experts": 0, "feed_forward": 0}
    for kind, block in abstract_params(config)["blocks"].items():
        leaves = leaves_by_path(block["ffn"]).items()
        sizes = {path: math.prod(leaf.shape) for path, leaf in leaves if not path.endswith(("_bias", "scale"))}
        projections = {"q", "k", "v", "o", "gate", "z", "a", "b"} & block["attn"].keys()
        macs["attention_projections"] += sum(math.prod(block["attn"][matrix].shape) for matrix in projections)
        if kind.endswith("moe"):
            experts = config.layers[0].feed_forward
            macs["feed_forward"] += sum(sizes.pop(path) for path in list(sizes) if path.startswith(("shared", "dense")))
            macs["router"] += sizes.pop("router")
            macs["experts"] += sum(sizes.values()) * experts.experts_per_token // experts.n_experts
        else:
            macs["feed_forward"] += sum(sizes.values())
    assert {name: flops.get(name, 0) for name in macs} == {name: 2 * tokens * value for name, value in macs.items()}
    assert flops["head"] == 2 * config.d_model * config.vocab_size


@pytest.mark.parametrize("name", RUNNING)
def test_stored_parameters_are_those_of_the_tree(name: str) -> None:
    tree = abstract_params(PRESETS[name])
    assert PRESETS[name].params == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_qwen3_30b_a3b_as_its_makers_count_it() -> None:
    shape = PRESETS["qwen3-30b-a3b"]
    assert shape.params == 30_532_122_624
    assert linear_flops(prefill_flops(shape, 1)) == 5_460_983_808


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("llama3-8b", 8_030_261_248),
        ("llama2-7b", 6_738_415_616),
        ("mistral-7b", 7_241_732_096),
        ("gemma3-27b", 27_009_002_240),
        ("gemma3-270m", 268_098_176),
        ("gpt-oss-20b", 20_914_757_184),
    ],
)
def test_published_parameter_counts_of_cost_only_shapes(name: str, params: int) -> None:
    assert PRESETS[name].params == params


def test_schedules_share_the_useful_count_and_differ_in_what_runs() -> None:
    config = PRESETS["tiny-moe"].with_layout("swa(7)+full")
    whole, chunks = prefill_flops(config, 97), prefill_flops(config, 97, chunk_tokens=16)
    assert whole == chunks
    grown = prefill_flops(config, 96)
    assert {k: v - grown[k] for k, v in whole.items() if k != "head"} == {
        k: v for k, v in steps_flops(config, decode_steps(96)).items() if k != "head"
    }
    executed = prefill_flops(config, 97, count="executed", chunk_tokens=16)
    assert executed["head"] == whole["head"]
    assert all(executed[name] >= flops for name, flops in whole.items())


def test_experts_run_whole_tiles_and_every_row_s_output_is_added() -> None:
    config, tokens = PRESETS["tiny-moe"], 97
    experts = config.layers[0].feed_forward
    rows = tokens * experts.experts_per_token
    table = tile_rows(jnp.zeros(rows, jnp.int32), experts.n_experts, choose_row_tile(rows, experts.n_experts))
    useful, executed = (prefill_flops(config, tokens, count=count) for count in ("useful", "executed"))
    assert executed["experts"] * rows == useful["experts"] * table.row_it.size > useful["experts"] * rows
    assert executed["combine"] == config.n_layers * 2 * config.d_model * rows


@pytest.mark.parametrize("variant", ["full", "swa(7)", "swa(5, sinks=3)", "swa(40)"])
@pytest.mark.parametrize("chunk", [1, 4, 9, 23])
def test_slots_of_a_step_are_those_of_the_real_cache(variant: str, chunk: int, fast_compile) -> None:
    config: ModelConfig = PRESETS["tiny-dense"].with_layout(variant)
    pattern = config.layout[0].pattern()
    stack = init_cache(config, 1, 23).runs[0]

    @functools.partial(jax.jit, static_argnames="first")
    def put(stack, layer, new, length, first):
        seen, kept = extend(stack, layer, new, length, pattern, first)
        return seen, kept(Attended(jnp.zeros((1, 1, 1, 1))))

    for step in prefill_steps(23, chunk):
        own, slots = step_positions(pattern, step.tokens, step.start, step.capacity)
        keys = np.zeros((1, step.tokens, config.n_kv_heads, config.head_dim), np.float32)
        new = LayerCache(keys, keys, own[None, None])
        seen, stack = put(stack, np.int32(0), new, np.int32(step.start), first=step.start == 0)
        found = np.asarray(as_array(seen.positions))[0, 0]
        if step.tokens == 1:  # one token goes where there is room: as many slots of the same, in another order
            found, slots = np.sort(found), np.sort(slots)
        np.testing.assert_array_equal(found, slots)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: prefill_steps(0), "tokens must be a whole number of at least 1, got 0"),
        (lambda: prefill_steps(5, 0), "chunk_tokens must be a whole number of at least 1, got 0"),
        (lambda: Step(3, -1), "position 0 or later"),
        (lambda: Step(3, 4, 6), "too small for 4 . 3"),
        (lambda: Step(3, 4, 8, prompt=9), "too small for a prompt of 9"),
        (lambda: Step(3, prompt=-1), "or is a chunk of it, got a prompt of -1 tokens and 3 at 0$"),
        (lambda: Step(100, prompt=4), "or is a chunk of it, got a prompt of 4 tokens and 100 at 0$"),
        (lambda: Step(3, 5, prompt=7), "or is a chunk of it, got a prompt of 7 tokens and 3 at 5$"),
        (lambda: decode_steps(5, 0), "at least 1 new token"),
        (lambda: prefill_flops(PRESETS["tiny-dense"], 3, count="masked"), "accepted: useful, executed"),
        (lambda: preset("qwen3-30b-a3"), "did you mean 'qwen3-30b-a3b'"),
        (lambda: preset("qwen3.5-35b-a3b").with_layout(["full"] * 9), "got 9 entries for 10 layers"),
    ],
)
def test_bad_input_says_what_to_change(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_selection_is_what_choosing_costs_and_attention_the_pairs():
    config = preset("tiny-dense").with_layout("moba(7,topk=3)")
    flops = prefill_flops(config, 53)
    gates = sum(p // 7 for p in range(53))  # of each query one for every block before its own
    pairs = sum(p % 7 + 1 + 7 * min(p // 7, 2) for p in range(53))
    heads = config.n_layers * config.n_heads * config.head_dim
    assert (flops["selection"], flops["attention"]) == (2 * heads * gates, 4 * heads * pairs)
    both = attention_flops(parse_variant("moba(7,topk=3)"), config, 53)
    assert config.n_layers * both == flops["selection"] + flops["attention"]
