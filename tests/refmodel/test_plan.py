"""How layers become runs, and that running them so is running them one by one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import partial

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.extend.core import jaxprs_in_params

from attention.attend import attend
from attention.layout import parse_variant
from refmodel.attend_layer import LayerIndex, StepInput
from refmodel.cache import init_cache
from refmodel.layers import Block
from refmodel.model import hidden_states, prefill, step
from refmodel.parts import Dense
from refmodel.plan import LayerPlan, Run, layer_plan
from refmodel.presets import preset
from refmodel.rope import rope_angles
from refmodel.tree import abstract_params
from refmodel.weights.random import random_params
from tests.examples import EXAMPLES

LOCAL, FULL = parse_variant("swa(1024)"), parse_variant("full")
TOKENS = 11


def with_layers(name: str, n_layers: int, layout: str, sparse_step: int = 1):
    """A preset of so many layers, of which every `sparse_step`-th keeps its feed-forward and the others are dense."""
    config = preset(name)
    dense = dataclasses.replace(config.layers[0], feed_forward=Dense(13))
    layers = [dense if (i + 1) % sparse_step else config.layers[0] for i in range(n_layers)]
    return dataclasses.replace(config, layers=tuple(layers)).with_layout(layout)


@pytest.mark.parametrize(("layers", "repeats", "tail"), [(48, 8, (0, 0)), (62, 10, (2, 0)), (53, 8, (5, 0))])
def test_five_local_layers_and_a_global_one(layers, repeats, tail):
    config = with_layers("qwen3-30b-a3b", layers, "5*swa(1024)+full")
    local, full = config.layers[4:6]
    assert layer_plan(config) == LayerPlan(repeats, (Run(local, 5, 0, 0), Run(full, 1, 5, 5)), tail)


def test_less_than_two_cycles_are_one():
    config = with_layers("tiny-dense", 5, "2*swa(1024)+full")
    local, full = config.layers[1:3]
    assert layer_plan(config) == LayerPlan(1, (Run(local, 2, 0, 0), Run(full, 1, 2, 2), Run(local, 2, 3, 3)), (0, 0, 0))


@given(st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=8), st.integers(1, 30), st.integers(1, 3))
def test_runs_spell_out_every_layer(names, layers, sparse_step):
    config = with_layers("tiny-moe", layers, "+".join(names), sparse_step)
    plan = layer_plan(config)
    spelt, seen, of_run = [], Counter(), [0] * len(plan.runs)
    for cycle in range(plan.repeats + 1):
        counts = plan.tail if cycle == plan.repeats else [run.count for run in plan.runs]
        for number, (run, count) in enumerate(zip(plan.runs, counts, strict=True)):
            for i in range(count):
                assert cycle * plan.cycle_layers + run.first + i == len(spelt)
                spelt.append((run.kind, run.variant))
                # the stacked parameters of a kind, and the states of a run, are read in layer order
                assert cycle * plan.per_cycle(run.kind) + run.first_of_kind + i == seen[run.kind]
                assert cycle * run.count + i == of_run[number]
                seen[run.kind] += 1
                of_run[number] += 1
    assert spelt == list(zip(config.stacks, config.layout, strict=True))
    assert tuple(of_run) == plan.layers


@partial(jax.jit, static_argnums=(0, 1, 2))
def one_layer(config, spec, of_that_kind, layer_params, x_btd, index):
    """A block by itself: layers of one kind and variant compile once."""
    tokens = x_btd.shape[1]
    position_bt = jnp.arange(tokens)[None]
    angles = rope_angles(position_bt, spec.heads.head_dim, spec.rope)
    inputs = StepInput(position_bt, angles, jnp.int32(0), attend, True, True, config.n_layers)
    stack = init_cache(config.one_layer(spec.variant), *x_btd.shape[:2]).runs[0]
    block = Block(spec, of_that_kind, x_btd.dtype)
    return block.apply({"params": layer_params}, x_btd, index, inputs, spec.variant, stack)[0]


def layer_by_layer(config, params, tokens_bt):
    """What each layer puts out for a prompt in one step, in a Python loop."""
    x_btd, outputs = params["embed"]["embedding"][tokens_bt], []
    for layer, (kind, spec) in enumerate(zip(config.stacks, config.layers, strict=True)):
        index = LayerIndex(*map(jnp.int32, (config.stacks[:layer].count(kind), 0, layer)))
        x_btd = one_layer(config, spec, config.stacks.count(kind), params["blocks"][kind], x_btd, index)
        outputs.append(x_btd)
    return jnp.stack(outputs)


@pytest.mark.parametrize(
    ("name", "layers", "layout"),
    [
        ("tiny-dense", 7, "2*swa(3)+full"),  # a tail of a part of a run
        ("tiny-dense", 11, "2*swa(3)+full+swa(5,sinks=1)"),  # of two runs and no more
        ("tiny-moe", 5, "swa(3)+evict(pyramidkv,budget=6,chunk=4,sinks=1,recent=2)"),  # that reads its depth
    ],
)
def test_a_cycle_and_its_tail_are_the_layers_one_by_one(name, layers, layout, fast_compile):
    config = with_layers(name, layers, layout)
    assert any(layer_plan(config).tail)
    params, tokens_bt = random_params(config, 5, jnp.float32), jnp.arange(2 * TOKENS).reshape(2, TOKENS)
    cache = init_cache(config, 2, TOKENS)
    run = jax.jit(lambda params, cache: hidden_states(config, params, cache, tokens_bt, first=True, every_layer=True))
    found = run(params, cache)
    expected_lbtd = layer_by_layer(config, params, tokens_bt)
    chex.assert_trees_all_close(found.layers_lbtd, expected_lbtd, atol=1e-5)

    in_chunks = jax.jit(lambda ids: prefill(config, params, ids, capacity_tokens=TOKENS, chunk_tokens=4))
    logits, cache = in_chunks(tokens_bt[:, :8])
    decode = jax.jit(step, static_argnums=0)
    for t in range(8, TOKENS):  # through the tail's cache
        logits, cache = decode(config, params, cache, tokens_bt[:, t : t + 1])
    expected, _ = jax.jit(step, static_argnums=0)(config, params, init_cache(config, 2, TOKENS), tokens_bt)
    chex.assert_trees_all_close(logits, expected, atol=1e-5)


def test_62_layers_are_two_bodies_and_a_tail():
    def scans(layout: str) -> int:
        config = with_layers("tiny-dense", 62, layout)

        def program(params, cache):
            return hidden_states(config, params, cache, jnp.zeros((1, 1), int)).final_btd

        made = jax.make_jaxpr(program)(abstract_params(config), init_cache(config, 1, TOKENS))
        return sum(equation.primitive.name == "scan" for equation in every_equation(made.jaxpr))

    assert scans("full") == 1 + 1  # over the cycles, and over the layers of a run
    assert scans("5*swa(3)+full") == 1 + 2 + 1


def every_equation(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from every_equation(inner)
