"""The post's table, figure and flash-attention point."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from attention.kernels.cover import choose_blocks
from attention.kernels.tiles import attention_tiles
from attention.pattern import SpanPattern
from eval.commands.post import growth_sentence
from eval.cost.cards import card
from eval.cost.post import MODEL, PRINTED, exact_convention, input_differences, post_convention, rounding_faults, row
from eval.cost.tiled_attention import flash_point
from eval.report.post_figure import draw_squares, square_sides
from refmodel.presets import preset


def test_the_table_reproduces_within_its_own_rounding() -> None:
    for printed in PRINTED:
        own = row(preset(MODEL), printed.tokens, post_convention())
        assert own.linear_flops == pytest.approx(printed.linear_flops, rel=0.03)
        assert own.attention_flops == pytest.approx(printed.attention_flops, rel=0.06)
        assert own.linear_ms == pytest.approx(printed.linear_ms, rel=0.01)
        assert own.attention_ms == pytest.approx(printed.attention_ms, rel=0.02, abs=0.5)
        assert 100 * own.share == pytest.approx(printed.share_percent, abs=0.7)


def test_loose_rounding_is_named() -> None:
    shares = [fault for fault in rounding_faults() if "share" in fault]
    assert shares == [
        "4,096: share printed 19 %, works out at 20 % (19.6 %)",
        "65,536: share printed 79 %, works out at 80 % (79.6 %)",
    ]
    assert not any(fault.startswith("1,024") for fault in rounding_faults())


def test_the_exact_table_uses_the_models_own_figures() -> None:
    exact = row(preset(MODEL), 13_888, exact_convention(card("r9700")))
    assert exact.attention_flops - exact.linear_flops == 4 * 32 * 128 * 48 * 13_888 // 2
    told = " ".join(input_differences(card("r9700")))
    assert all(
        figure in told for figure in ("195 TFLOPS", "191.4", "3.30e+09", "2,730,491,904", "16,785", "13,888", "12,589")
    )


def test_areas_are_to_each_other_as_flops() -> None:
    small, large = square_sides((9, 36), 144)
    assert (small, large) == (0.25, 0.5)
    figure = draw_squares([preset(MODEL), preset(MODEL).with_layout("swa(1024)")], [1024, 4096, 8192, 16_384])
    squares = [[patch.get_width() ** 2 for patch in axes.patches] for axes in figure.axes]
    assert len(squares) == 8
    (linear, full), (same, windowed) = squares[3], squares[7]
    assert (full / linear, windowed / same) == pytest.approx((393_216 * 16_385 / 5_460_983_808, 0.1428), rel=1e-3)
    assert linear == same


IMPLS = ("dense", "blockwise", "pallas")


def test_tiles_save_memory_and_no_useful_flops() -> None:
    config = preset("tiny-dense")
    points = {(impl, n): flash_point(config, n, impl) for impl in IMPLS for n in (1024, 4096)}
    for n in (1024, 4096):
        assert points["dense", n].executed_flops == 4 * config.head_dim * config.n_heads * n * n
        for tiled in (points["blockwise", n], points["pallas", n]):
            assert tiled.useful_flops < tiled.executed_flops < points["dense", n].executed_flops
            assert tiled.useful_flops == points["dense", n].useful_flops
    growth = {impl: points[impl, 4096].temporary_bytes / points[impl, 1024].temporary_bytes for impl in IMPLS}
    assert growth["dense"] > 12 and growth["blockwise"] < 5 and growth["pallas"] == 4
    assert points["blockwise", 4096].moved_bytes < points["dense", 4096].moved_bytes / 10


def test_bytes_moved_keep_a_square_over_the_queries_of_a_tile() -> None:
    """By hand: K·H·(2 tensors)·(2 bytes) for each key that a tile sees, beside q, k, v and the result once."""
    config = preset("tiny-dense")
    through = 2 * 2 * (config.n_heads + config.n_kv_heads) * config.head_dim
    key_bytes = 2 * 2 * config.n_kv_heads * config.head_dim
    queries = {
        "blockwise": choose_blocks(SpanPattern(), 4096, 4096, config.group_size).q_tile,
        "pallas": attention_tiles("sm_90", jnp.bfloat16, config.head_dim).rows // config.group_size,
    }
    for impl, tile in queries.items():
        near, far = (flash_point(config, n, impl) for n in (4096, 16_384))
        again = [(point.moved_bytes - through * point.tokens) / key_bytes for point in (near, far)]
        assert again == pytest.approx([n * n / (2 * tile) for n in (4096, 16_384)], rel=0.2)
        grown = (far.temporary_bytes / near.temporary_bytes, far.moved_bytes / near.moved_bytes)
        assert f"{impl} {grown[0]:.1f}x and {grown[1]:.1f}x;" in growth_sentence([far, near])
