"""From which context on the cache outweighs the weights, or no longer fits, against every context."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.cost import roofline
from eval.cost.flops.formats import Storage, weight_bytes
from eval.cost.flops.traffic import kv_cache_bytes, steps_bytes
from eval.cost.roofline import decode_crossover_tokens, longest_fit_tokens
from eval.cost.sawtooth import first_above
from refmodel.presets import preset
from refmodel.schedule import decode_steps

MODEL = preset("tiny-dense")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(-1, 31), st.integers(0, 3))
def test_it_is_the_first_of_all(totals, limit, slack):
    def fall(low, high):
        return max(max(totals[low : i + 1]) - totals[i] for i in range(low, high + 1)) + slack

    expected = next((n for n, total in enumerate(totals) if total > limit), None)
    assert first_above(totals.__getitem__, fall, limit, 0, len(totals) - 1) == expected


@pytest.mark.parametrize(
    ("layout", "storage"),
    [
        ("evict(knorm, budget=0.1, chunk=1000)", Storage("f32")),
        ("evict(knorm, budget=0.1, chunk=397)", Storage()),
        ("evict(knorm, budget=16, chunk=1009, recent=3)", Storage()),
        ("evict(knorm, budget=16, chunk=211)+full", Storage()),
        ("evict(pyramidkv, budget=0.25, chunk=97, recent=5)", Storage("4bit")),
        ("3*evict(h2o, budget=1/3, chunk=251)+swa(31)", Storage()),
        ("2*evict(knorm, budget=31, chunk=131)+2*evict(knorm, budget=7, chunk=137)", Storage("4bit")),
        ("evict_after(pyramidkv, budget=0.6, recent=2)", Storage("4bit")),
        ("full+3*evict_after(pyramidkv, budget=97, recent=2)", Storage()),
        ("evict(knorm, budget=16, chunk=61)", Storage()),
        ("spans(0.01N)", Storage("4bit", "f32")),
    ],
)
def test_it_is_the_first_context_of_all_whose_cache_outweighs_the_weights(layout, storage):
    model = MODEL.with_layout(layout)
    found = decode_crossover_tokens(model, storage)
    moved = (steps_bytes(model, decode_steps(n), storage) for n in range(1, (found or 4000) + 1))
    above = [2 * one["attention"] > sum(one.values()) for one in moved]
    assert above == [False] * (len(above) - 1) + [found is not None]


def test_a_small_share_gets_there_too():
    model = preset("smollm2-135m").with_layout("evict(knorm, budget=1/1024, chunk=4096)")
    found = decode_crossover_tokens(model)
    moved = [steps_bytes(model, decode_steps(n)) for n in (found - 1, found)]
    assert [2 * one["attention"] > sum(one.values()) for one in moved] == [False, True]


def test_chunks_that_hardly_ever_end_together_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(roofline, "LONGEST_TOKENS", 2**16)
    model = MODEL.with_layout("2*evict(knorm, budget=31, chunk=3001)+2*evict(knorm, budget=7, chunk=3011)")
    storage = Storage("f32", "4bit")
    with pytest.raises(ValueError, match=r"looked for up to .* end together every 9,036,011; give them chunks that"):
        decode_crossover_tokens(model, storage)


SHARES = st.fractions(Fraction(1, 100), Fraction(99, 100), max_denominator=101)
KINDS = st.sampled_from(["knorm", "h2o", "pyramidkv, recent=2", "adakv, recent=3"])


@given(KINDS, SHARES, st.integers(8, 61), st.integers(1, 300))
def test_the_longest_context_that_fits_is_before_the_first_that_does_not(kind, share, chunk, full):
    """A cache as large as that of `full` tokens in every layer."""
    if kind.startswith(("pyramidkv", "adakv")):
        chunk += 31  # their windows
    model = MODEL.with_layout(f"3*evict({kind}, budget={share}, chunk={chunk})+swa(29)")
    room = kv_cache_bytes(MODEL, full)
    memory = SimpleNamespace(memory_bytes=room + weight_bytes(model, "bf16"))
    found = longest_fit_tokens(model, memory)
    sizes = [kv_cache_bytes(model, n) for n in range(1, min(found, 3000) + 2)]
    assert max(sizes[:-1], default=0) <= room and (sizes[-1] > room or found > 3000)


def test_a_longer_context_may_need_a_smaller_cache():
    model = MODEL.with_layout("evict(knorm, budget=0.9, chunk=100)")
    slots = [kv_cache_bytes(model, n) // kv_cache_bytes(MODEL, 1) for n in (888, 889)]
    assert slots == [899, 889]
