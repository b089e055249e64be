"""Cards and what follows from them."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.cost import roofline
from eval.cost.cards import CARDS, card, card_of_device
from eval.cost.flops.closed_form import prefill_flops, steps_flops
from eval.cost.flops.formats import Storage, weight_bytes
from eval.cost.flops.traffic import kv_bytes_per_token, kv_cache_bytes, steps_bytes
from eval.cost.roofline import (
    Assumptions,
    decode_crossover_tokens,
    floor_ms,
    floors,
    gemm_crossover_columns,
    longest_fit_tokens,
)
from refmodel.cache import cache_bytes, init_cache
from refmodel.presets import preset
from refmodel.schedule import Step, decode_steps, prefill_steps
from refmodel.tree import abstract_params

QWEN, R9700 = preset("qwen3-30b-a3b"), card("r9700")


def test_every_figure_has_a_source() -> None:
    for one in CARDS.values():
        figures = [*one.peak.values(), *one.figures.values(), *one.measured.values()]
        assert all(figure.value > 0 and len(figure.source) > 8 for figure in figures)
        assert one.bandwidth_bytes_per_s and one.peak_flops_per_s()


@pytest.mark.parametrize(
    ("name", "tflops", "gb_per_s"),
    [
        ("r9700", 191.4, 640),
        ("rx-9070-xt", 194.6, 640),
        ("strix-halo", 59.4, 256),
        ("h100-sxm", 989, 3350),
        ("h200", 989, 4800),
    ],
)
def test_headline_figures(name: str, tflops: float, gb_per_s: float) -> None:
    assert round(card(name).peak_flops_per_s() / 1e12, 1) == tflops
    assert card(name).bandwidth_bytes_per_s == gb_per_s * 1e9


def test_r9700_derived_rates() -> None:
    assert [round(R9700.peak_flops_per_s(d) / 1e12, 1) for d in ("fp8", "int8", "int4", "f32")] == [
        382.7,
        382.7,
        765.5,
        47.8,
    ]
    assert R9700.figure("workgroup_bytes") == 65_536


def test_a_card_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nbandwidth_bytes_per_s = 5e11\n[peak_tflops]\nbf16 = 100\n')
    mine = card(path)
    assert (mine.name, mine.title, mine.peak_flops_per_s(), mine.bandwidth_bytes_per_s) == ("mine", "mine", 1e14, 5e11)
    for missing in (lambda: mine.memory_bytes, lambda: mine.peak_flops_per_s("fp8")):
        with pytest.raises(ValueError, match=r"card mine has no .* Give"):
            missing()


@pytest.mark.parametrize(
    ("text", "message"),
    [("bandwidth = 3\n[peak_tflops]\nbf16 = 1", "no 'bandwidth'; accepted: bandwidth_bytes_per_s"),
     ("memory_bytes = 3", r"needs a table \[peak_tflops\]"),
     ("[peak_tflops]\nbf16 = -1", "must be a finite number above 0"),
     ("[peak_tflops]\nbf16 = inf", "must be a finite number above 0"),
     ("[peak_tflops]\nbf16 = true", "must be a finite number above 0"), ("=", "not a readable TOML card"),
     (f"memory_bytes = 0x{'f' * 4_000}\n[peak_tflops]\nbf16 = 1", r"bad\.toml: .* got a whole number of 16,000 bits"),
     (f"lanes = [0x{'f' * 4_000}]\n[peak_tflops]\nbf16 = 1", r"bad\.toml: lanes .* got numbers too long to print"),
     (f"name = 0x{'f' * 4_000}\n[peak_tflops]\nbf16 = 1", r"bad\.toml: name must be a line of at most"),
     ('name = """a\nb"""\n[peak_tflops]\nbf16 = 1', r"bad\.toml: name must be a line of at most.* got 'a.nb'")],
)  # fmt: skip
def test_a_bad_file(tmp_path: Path, text: str, message: str) -> None:
    (path := tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        card(path)


def test_an_unknown_card() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'r9700'.*accepted: r9700"):
        card("r970")


def test_bytes_of_weights_and_cache() -> None:
    assert weight_bytes(QWEN) == 2 * 30_532_122_624
    assert kv_bytes_per_token(QWEN) == 98_304


@given(st.sampled_from(["full", "swa(7)", "swa(5,sinks=2)+full", "msa(5,dim=6)+full"]), st.integers(1, 90))
def test_the_cache_is_as_large_as_the_one_that_runs(layout: str, capacity: int) -> None:
    config = preset("tiny-dense").with_layout(layout)
    assert kv_cache_bytes(config, capacity, "f32") == cache_bytes(config, init_cache(config, 1, capacity))


def test_a_decode_step_reads_active_weights_once_and_the_cache_once() -> None:
    moved = steps_bytes(QWEN, decode_steps(1000))
    assert moved["experts"] == 2 * 48 * 8 * 3 * 2048 * 768
    assert moved["attention"] == 98_304 * 1002  # 1,000 kept, its own read and written
    assert steps_bytes(QWEN, (Step(64),))["experts"] == 2 * 48 * 128 * 3 * 2048 * 768
    windowed = QWEN.with_layout("swa(101)")
    assert steps_bytes(windowed, decode_steps(1000))["attention"] == 98_304 * 102


@pytest.mark.parametrize(("layout", "most"), [("msa", 2048), ("dsa", 2048), ("qsa", 2051)])
def test_a_decode_step_of_an_index_reads_all_of_its_keys_and_chosen_ones_of_the_cache(layout: str, most: int) -> None:
    model, index_bytes = QWEN.with_layout(layout), 2 * 48 * 128
    for context, read in ((1000, 1001), (9000, most)):
        moved = steps_bytes(model, decode_steps(context))["attention"]
        assert moved == 98_304 * (read + 1) + index_bytes * (context + 2)
    chunk = steps_bytes(model, (Step(3, start=9000),))["attention"]
    assert chunk == 98_304 * (3 * most + 3) + index_bytes * (9000 + 6)


@pytest.mark.parametrize(("per", "units"), [("layer", 1), ("group", 4)])
def test_routers_of_spans_are_read_and_stored(per: str, units: int) -> None:
    routed = QWEN.with_layout(f"routed(64|full, per={per})")
    router = 48 * 2048 * units * 2
    assert steps_bytes(routed, (Step(64),))["selection"] == 2 * router
    assert weight_bytes(routed) - weight_bytes(QWEN) == 2 * router
    stored = sum(leaf.size for leaf in jax.tree.leaves(abstract_params(routed)))
    assert 2 * stored == weight_bytes(routed)


def test_a_shape_that_does_not_run_has_routers_too() -> None:
    gemma = preset("gemma3-1b").with_layout("routed(64|full)")
    assert steps_flops(gemma, (Step(7),))["selection"] == 26 * 2 * 7 * 1152 * 2
    assert steps_bytes(gemma, (Step(7),))["selection"] == 26 * 2 * 1152 * 2


@given(st.integers(1, 5000), st.sampled_from([None, 64, 1000]), st.floats(0.1, 1), st.floats(0.1, 1))
def test_a_floor_is_the_larger_of_two_times(tokens: int, chunk: int | None, linear: float, attention: float) -> None:
    under = Assumptions(linear_efficiency=linear, attention_efficiency=attention)
    model = preset("qwen3-0.6b")
    found = floors(model, prefill_steps(tokens, chunk), R9700, under)
    assert {name: one.ms for name, one in found.items()} == floor_ms(model, tokens, R9700, under, chunk_tokens=chunk)
    flops = prefill_flops(model, tokens)
    for name, one in found.items():
        efficiency = attention if name == "attention" else linear
        assert one.flops == flops[name]
        assert one.compute_ms == pytest.approx(1e3 * flops[name] / R9700.peak_flops_per_s() / efficiency)
        assert (
            max(one.compute_ms, one.memory_ms) <= one.ms * (1 + 1e-9) <= (one.compute_ms + one.memory_ms) * (1 + 2e-9)
        )


def test_decode_is_bound_by_memory_and_long_prefill_by_compute() -> None:
    decode = floors(QWEN, decode_steps(4096), R9700)
    prefill = floors(QWEN, prefill_steps(16_384), R9700)
    assert all(one.memory_ms > one.compute_ms for one in decode.values())
    assert all(one.memory_ms < one.compute_ms for name, one in prefill.items() if name != "head")
    # 4,096 tokens are 256 columns an expert, fewer than this card needs: the experts are still read, not computed.
    experts = floors(QWEN, prefill_steps(4096), R9700)["experts"]
    assert experts.memory_ms > experts.compute_ms
    steps = decode_steps(4096)
    assert set(floors(QWEN, steps, R9700)) == set(steps_flops(QWEN, steps))


def test_the_gemm_leaves_the_memory_bound_at_its_columns() -> None:
    columns = gemm_crossover_columns(R9700)
    dense = preset("qwen3-8b")
    for tokens, bound_by_memory in ((columns - 1, True), (columns, False)):
        one = floors(dense, prefill_steps(tokens), R9700)["feed_forward"]
        assert (one.memory_ms > one.compute_ms) is bound_by_memory
    assert gemm_crossover_columns(R9700, "4.5bit") == -(-columns * 9 // 32)


def test_decode_crossover_is_the_first_context_whose_cache_outweighs_the_weights() -> None:
    for storage in (Storage(), Storage("4bit"), Storage("4bit", "4bit")):
        n = decode_crossover_tokens(QWEN, storage)
        for context, expected in ((n - 1, False), (n, True)):
            moved = steps_bytes(QWEN, decode_steps(context), storage)
            assert (moved.pop("attention") > sum(moved.values())) is expected
    assert decode_crossover_tokens(QWEN.with_layout("swa(1024)")) is None
    full, half = (decode_crossover_tokens(QWEN.with_layout(layout)) for layout in ("full", "spans(0.5N, sinks=0)"))
    assert full and half and 2 * full - 3 <= half <= 2 * full + 3


def test_the_longest_context_that_fits() -> None:
    assert longest_fit_tokens(QWEN, R9700) == 0  # 61 GB of weights
    storage = Storage("4.5bit")
    n = longest_fit_tokens(QWEN, R9700, storage)
    sizes = [weight_bytes(QWEN, "4.5bit") + kv_cache_bytes(QWEN, tokens) for tokens in (n, n + 1)]
    assert sizes[0] <= R9700.memory_bytes < sizes[1]
    assert longest_fit_tokens(QWEN.with_layout("swa(1024)"), R9700, storage) is None


@pytest.mark.parametrize("field", ["linear_efficiency", "attention_efficiency", "bandwidth_efficiency"])
@pytest.mark.parametrize("value", [0, -1, 1.01])
def test_efficiencies_are_fractions(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} must be above 0 and at most 1"):
        Assumptions(**{field: value})


@pytest.mark.parametrize(
    ("device_kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H200", "h200"),
        ("AMD Radeon AI PRO R9700", "r9700"),
        ("cpu", None),
    ],
)
def test_a_card_is_known_by_its_device(device_kind, name) -> None:
    found = card_of_device(device_kind)
    assert (found and found.name) == name


def test_the_two_times_of_a_floor_are_not_added() -> None:
    found = roofline.floors(preset("tiny-dense"), prefill_steps(64), CARDS["r9700"])
    assert all(one.ms == max(one.compute_ms, one.memory_ms) for one in found.values())
    assert any(one.ms < one.compute_ms + one.memory_ms for one in found.values())
