"""What a layer's attention says it ran: here with the kernel interpreted, so that no GPU is needed."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import pytest

from attention.attend import reporting_kernel
from attention.kernels.tiles import AttentionTiles
from attention.layout import parse_variant
from eval import device_work
from eval.device_work import Work, layer_work
from refmodel.presets import preset
from tests.gpu import TRITON_IS_LEAVING

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_compile")]

CONFIG, TOKENS = preset("tiny-dense"), 331


@pytest.mark.parametrize(
    "text",
    ["full", "swa(29)", "routed(5|full, router=periodic)", "evict(keydiff, budget=64, chunk=64)", "moba(29, topk=2)"],
)
def test_visited_pairs_hold_the_useful_ones(text, monkeypatch):
    layer_work.cache_clear()
    monkeypatch.setattr(device_work, "choose_impl", lambda *_, **__: "pallas")

    def interpreted(impl, pattern):
        return partial(reporting_kernel(impl, pattern), interpret=True, tiles=AttentionTiles(16, 16, 4, 1))

    monkeypatch.setattr(device_work, "reporting_kernel", interpreted)
    variant = parse_variant(text)
    work = layer_work(CONFIG, variant, TOKENS, jnp.dtype("float32"))
    layer_work.cache_clear()
    assert work.impls == ("pallas",)
    assert variant.useful(CONFIG.heads, TOKENS).pairs <= work.visited_pairs < CONFIG.n_heads * (TOKENS + 32) ** 2


def test_the_blocks_of_a_choice_lie_between_what_is_asked_for_and_what_is_provided():
    variant = parse_variant("moba(29)")
    work = layer_work(CONFIG, variant, TOKENS, jnp.dtype("float32"), "blockwise")
    useful, executed = (count(CONFIG.heads, TOKENS).pairs for count in (variant.useful, variant.executed))
    assert useful < work.visited_pairs <= executed


def test_what_does_not_tell_is_unknown():
    work = layer_work(CONFIG, parse_variant("full"), TOKENS, jnp.dtype("float32"), "dense")
    assert work == Work(("dense",), None)
