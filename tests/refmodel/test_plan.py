"""How layers become runs."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from attention.layout import parse_variant
from refmodel.plan import LayerPlan, Run, layer_plan
from refmodel.presets import preset
from tests.examples import EXAMPLES


def test_five_local_layers_and_a_global_one():
    plan = layer_plan(preset("qwen3-30b-a3b").with_layout("5*swa(1024)+full"))
    local, full = parse_variant("swa(1024)"), parse_variant("full")
    assert plan == LayerPlan(8, (Run("moe", local, 5, 0, 0), Run("moe", full, 1, 5, 5)))


@given(st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=8), st.integers(1, 3), st.integers(1, 3))
def test_runs_spell_out_every_layer(names, repeats, sparse_step):
    config = dataclasses.replace(
        preset("tiny-moe"), n_layers=len(names) * repeats, layout=(), decoder_sparse_step=sparse_step, d_ff=13
    ).with_layout(names * repeats)
    plan = layer_plan(config)
    spelt, seen = [], {"dense": 0, "moe": 0}
    for cycle in range(plan.repeats):
        for run in plan.runs:
            for i in range(run.count):
                assert cycle * plan.cycle_layers + run.first + i == len(spelt)
                spelt.append((run.kind, run.variant))
                # the stacked parameters of a kind are read in layer order
                assert cycle * plan.per_cycle(run.kind) + run.first_of_kind + i == seen[run.kind]
                seen[run.kind] += 1
    assert spelt == list(zip(config.block_kinds, config.layout, strict=True))
