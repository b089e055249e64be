"""What an index saves at most and from where on, of published shapes and against exact counts."""

from __future__ import annotations

import pytest

from attention.block_indexed import BlockIndexed
from attention.cost import Heads
from attention.pooled_indexed import PooledIndexed
from attention.token_indexed import TokenIndexed
from eval.cost.break_even import break_even_tokens, speed_up_limit
from eval.cost.flops.traffic import kv_bytes_per_token
from eval.cost.indexed_limits import KeyFlops, key_flops
from refmodel.presets import preset


def test_deepseeks_index_pays_from_17408_tokens_on_and_saves_five_times_at_most():
    """V3.2: 128 heads whose keys have 192 numbers and values 128, or 1,088 in latent form; 64 index heads of 128."""
    found = KeyFlops(full=2 * 128 * (192 + 128), chosen=2 * 128 * 1088, index=2 * 64 * 128)
    assert found.break_even_tokens(2048) == 17_408 and found.cap == 5
    model = preset("deepseek-v3.2")
    assert speed_up_limit(model, model.with_layout("dsa(heads=64)")) == 5


def test_an_index_of_a_model_that_is_only_counted_is_stored_and_held():
    model, d = preset("deepseek-v3.2"), 7168
    indexed = model.with_layout("dsa(heads=64)")
    assert indexed.params - model.params == 61 * (d * 64 * 128 + d * 128 + d * 64 + 2 * 128)
    assert kv_bytes_per_token(indexed) - kv_bytes_per_token(model) == 2 * 61 * 128


def test_minimaxs_index_pays_from_4228_tokens_on():
    """M3: 64 query heads and 4 of keys, of 128."""
    msa, heads = BlockIndexed(), Heads(64, 4, 128)
    found = key_flops(msa, heads)
    assert int(found.break_even_tokens(msa.budget_tokens)) == 4_228 and found.cap == 32


def test_qwens_index_pays_from_4139_tokens_on():
    """24 query heads of 256, and 2 of keys."""
    found = key_flops(PooledIndexed(), Heads(24, 2, 256))
    assert int(found.break_even_tokens(2048)) == 4_139 and found.cap == 96


@pytest.mark.parametrize("variant", [BlockIndexed(), TokenIndexed(), PooledIndexed()], ids=str)
@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "llama3-8b"])
def test_the_cap_is_the_limit_of_exact_counts(name, variant):
    full, smooth = preset(name), key_flops(variant, preset(name).heads)
    indexed = full.with_layout(variant)
    assert smooth.cap == speed_up_limit(full, indexed)
    assert variant.budget_tokens < break_even_tokens(full, indexed) < 1.25 * smooth.break_even_tokens(2048)


def test_an_index_as_dear_as_attention_never_pays():
    assert KeyFlops(10, 10, 10).break_even_tokens(1) is None and KeyFlops(10, 10, 9).break_even_tokens(1) == 20
