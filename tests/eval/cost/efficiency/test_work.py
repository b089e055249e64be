"""What a row had to do, by hand."""

from __future__ import annotations

import math

import pytest

from eval.cost.efficiency.work import context_log2, rows_log2, traits, work_of
from eval.cost.row_fields import MOST_PASSES
from refmodel.presets import preset
from tests.eval.cost.packaged import measured
from tests.held import held


def test_a_prompt_in_micro_batches() -> None:
    work = work_of(measured("llama2-7b", 1100, 300, micro_batch=512))
    shape = preset("llama2-7b")
    assert work.steps == 3 and work.linear_flops == 2 * shape.linear_macs * 1100
    pairs = 512 * 812 + 512 * 1324 + 76 * 1400  # every query with every key up to the end of its micro-batch
    assert work.attention_flops == 32 * 4 * 32 * 128 * pairs
    visible = sum(300 + i + 1 for i in range(1100))
    assert work.useful_attention_flops == 32 * 4 * 32 * 128 * visible
    assert work.weight_values == 3 * (shape.linear_macs + shape.head_macs)


@pytest.mark.slow
def test_the_most_micro_batches_that_a_row_may_have_are_counted_in_time() -> None:
    row = measured("gemma3-27b", 3 * MOST_PASSES - 1, 5, micro_batch=3)
    with held(0):
        assert work_of(row).steps == MOST_PASSES


def test_a_window_keeps_its_keys_and_a_micro_batch_its_own() -> None:
    work = work_of(measured("gemma3-12b", 512, 16_384, micro_batch=512))
    local, world = 512 * (1023 + 512), 512 * (16_384 + 512)  # a window of 1,024 holds the query itself
    assert work.attention_flops == 4 * 16 * 256 * (40 * local + 8 * world)


def test_decode_reads_the_active_weights_and_the_cache() -> None:
    work = work_of(measured("qwen3-30b-a3b", 128, 0, decode=True))
    shape = preset("qwen3-30b-a3b")
    assert work.steps == 128
    assert work.weight_values == 128 * (shape.linear_macs + shape.head_macs)
    assert work.cache_values == 128 * 48 * 2 * 4 * 128 * (64 + 1 + 1)  # kept, its own read and written


def test_traits_and_context() -> None:
    assert traits("gemma4-26b-a4b").head_dim == 512 and traits("qwen3-30b-a3b").has_experts
    assert traits("ministral-3-8b").n_layers == 34 and not traits("ministral-3-8b").has_experts
    assert context_log2(measured("llama2-7b", 2048, 16_384 - 1024)) == pytest.approx(math.log2(2))
    assert [traits(one).has_states for one in ("qwen3-next-80b-a3b", "nemotron-3-nano-30b-a3b", "gpt-oss-20b")] == [
        True, True, False
    ]  # fmt: skip


def test_an_expert_s_products_have_few_rows() -> None:
    assert rows_log2(measured("llama2-7b", 4096, micro_batch=2048)) == 2
    assert rows_log2(measured("qwen3-30b-a3b", 4096, micro_batch=2048)) == 2 + math.log2(8 / 128)
    assert rows_log2(measured("qwen3-30b-a3b", 1024, micro_batch=2048)) == 1 + math.log2(8 / 128)


@pytest.mark.parametrize(
    ("name", "billions", "active"),
    [("nemotron-3-nano-30b-a3b", 31.6, 3.2), ("ministral-3-8b", 8.5, 8.0), ("ministral-3-14b", 13.5, 12.8),
     ("mistral-7b-v0.3", 7.25, 7.1)],
)  # fmt: skip
def test_new_shapes_have_the_parameters_that_their_makers_state(name: str, billions: float, active: float) -> None:
    shape = preset(name)
    assert shape.params / 1e9 == pytest.approx(billions, rel=0.005)
    assert (shape.linear_macs + shape.head_macs) / 1e9 == pytest.approx(active, rel=0.02)
