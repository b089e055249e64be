"""Golden files: what transformers computed, layer by layer, from checkpoints that it saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from attention.sliding_window import SlidingWindow
from refmodel.parts import ClampedSwish, Dense, Experts, Norm, Rope
from refmodel.rope_scaling import Linear, Proportional
from tests.golden.compare import errors

FOLDERS = {path.parent.name: path.parent for path in Path(__file__).parents[1].glob("golden/*/config.json")}
TOLERANCE = 1e-4
HYBRIDS = {"qwen3-next", "qwen3-next-dense", "qwen3-5-moe", "qwen3-5-moe-tied"}
CHUNKS = {37: (11, 11, 11, 1, 1, 1, 1), 257: (63, 64, 65, 61, 1, 1, 1, 1)}
pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize(
    ("impl", "steps"),
    [("dense", None), ("blockwise", None), ("blockwise", "chunks")],
    ids=["dense", "blockwise", "blockwise chunks, then decode"],
)
@pytest.mark.parametrize("case", sorted(FOLDERS.keys() - HYBRIDS))
def test_logits_and_every_layer(case, impl, steps):
    check(case, impl, steps)


SLOW = [("qwen3-5-moe", "chunks"), ("qwen3-5-moe-tied", "chunks"), ("qwen3-next-dense", "chunks")]


@pytest.mark.parametrize(
    ("case", "steps"),
    [
        *((case, None) for case in sorted(HYBRIDS)), ("qwen3-next", "chunks"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW),
    ],
)  # fmt: skip
def test_hybrids(case, steps):
    """At once, and in chunks and decode, which take long to compile."""
    check(case, "blockwise", steps)


def check(case, impl, steps):
    steps = steps and CHUNKS[np.load(FOLDERS[case] / "golden.npz")["tokens"].shape[1]]
    found = errors(FOLDERS[case], steps, impl=impl)
    assert found.layers.max() < TOLERANCE, f"per layer: {found.layers}"
    assert found.logits < TOLERANCE


def window(by):
    def change(config):
        layout = [SlidingWindow(v.window + by) if isinstance(v, SlidingWindow) else v for v in config.layout]
        return config.with_layout(layout)

    return change


def ropes(local, world):
    def change(config):
        layers = (dataclasses.replace(x, rope=world if str(x.mixer) == "full" else local) for x in config.layers)
        return dataclasses.replace(config, layers=tuple(layers))

    return change


def scaled(**changes):
    """Other settings of the scaling of every layer's positions."""

    def change(config):
        rope = config.layers[0].rope
        return config.with_each_layer(rope=Rope(rope.theta, dataclasses.replace(rope.scaling, **changes)))

    return change


def settings(**changes):
    return lambda config: config.with_each_layer(**changes)


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("dense-window", window(-1)),
        ("dense-window", window(+1)),
        ("moe", settings(feed_forward=Experts(7, 3, 5, norm_topk_prob=False))),
        ("moe-raw-top-k", settings(feed_forward=Experts(7, 3, 5))),
        ("dense-tied", settings(rope=Rope(11_000.0))),
        ("llama", settings(norm=Norm(1e-5))),
        ("mistral", window(-1)),
        ("ministral", window(+1)),
        ("gpt-oss", window(-1)),
        ("gpt-oss", window(+1)),
        ("gpt-oss", scaled(truncate=True)),
        ("gpt-oss", settings(sink_logits=False)),
        ("gpt-oss", settings(feed_forward=Experts(7, 3, 19, activation=ClampedSwish(1.3, 7.0), bias=True))),
        ("gpt-oss", settings(feed_forward=Experts(7, 3, 19, activation=ClampedSwish(1.702, 0.9), bias=True))),
        ("gpt-oss", settings(feed_forward=Experts(7, 3, 19, False, ClampedSwish(1.3, 0.9), bias=True))),
        ("qwen3-5-moe", settings(rope=Rope(share=0.5))),
        ("qwen3-5-moe", settings(norm=Norm(1e-6, 1.0))),
        ("qwen3-next", settings(feed_forward=Experts(7, 3, 5, norm_topk_prob=False, d_shared=11))),
        ("gemma4", window(+1)),
        ("gemma4", settings(softmax_scale=None)),
        ("gemma4", settings(value_norm=False)),
        ("gemma4", ropes(Rope(1000.0), Rope(3000.0, Proportional(4)))),
        ("gemma4", settings(feed_forward=Experts(7, 3, 5, beside=Dense(19, "gelu_tanh")))),
        ("gemma4-dense", ropes(Rope(10.0, Linear(2.0)), Rope(100.0, Proportional(3)))),
        ("gemma4-dense", lambda config: dataclasses.replace(config, embedding_scale=1.0)),
        ("gemma3", window(+1)),
        ("gemma3", settings(softmax_scale=None)),
        ("gemma3", settings(feed_forward=Dense(19))),
        ("gemma3", lambda config: dataclasses.replace(config, embedding_scale=1.0)),
        ("gemma3", ropes(Rope(11.0), Rope(1e4, Linear(8.0)))),
        ("gemma3", ropes(Rope(10.0), Rope(1e4, Linear(4.0)))),
    ],
)
def test_a_wrong_config_is_noticed(case, change):
    """The golden files tell a model from its nearest relatives, above all a window from one longer or shorter by 1."""
    found = errors(FOLDERS[case], change=change, impl="dense")
    assert found.layers.max() > 5 * TOLERANCE
    assert found.logits > 5 * TOLERANCE
