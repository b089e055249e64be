"""Layouts as people write them, and what they are told when they misspell one."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention.full import Full
from attention.layout import describe_cut, format_layout, make, parse_layout, parse_variant, period
from attention.pattern import UNBOUNDED
from attention.sliding_window import SlidingWindow
from tests.examples import EXAMPLES

LOCAL = SlidingWindow(1024)


@pytest.mark.parametrize(
    ("spec", "layers", "expected"),
    [
        ("full", 3, (Full(),) * 3),
        ("swa(1024)", 2, (LOCAL,) * 2),
        ("5*swa(1024)+full", 12, ((LOCAL,) * 5 + (Full(),)) * 2),
        ("5*swa(1024)+full", 8, (LOCAL,) * 5 + (Full(),) + (LOCAL,) * 2),
        ("5*swa(1024)+full", 4, (LOCAL,) * 4),
        (f"{10**20}*full+swa(1024)", 3, (Full(),) * 3),
        (" 2 * swa( 7 , sinks = 3 ) + FULL ", 3, (SlidingWindow(7, 3),) * 2 + (Full(),)),
        ("swa(window=7,sinks=3)", 1, (SlidingWindow(7, 3),)),
        (["full", "swa(5)", LOCAL], 3, (Full(), SlidingWindow(5), LOCAL)),
        (LOCAL, 3, (LOCAL,) * 3),
    ],
)
def test_spellings(spec, layers, expected):
    assert parse_layout(spec, layers) == expected


@given(st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=8), st.integers(1, 40))
def test_formatting_round_trips(names, n_layers):
    layout = tuple(itertools.islice(itertools.cycle(map(parse_variant, names)), n_layers))
    assert parse_layout("+".join(names), n_layers) == layout
    text = format_layout(layout)
    assert parse_layout(text, n_layers) == layout


@given(st.text("abc", min_size=1, max_size=13))
def test_no_shorter_cycle_parses_back(letters):
    variants = {letter: parse_variant(f"swa({window})") for letter, window in zip("abc", (1, 2, 3), strict=True)}
    layout = tuple(variants[letter] for letter in letters)
    terms = [[f"{len(list(run))}*{v}".removeprefix("1*") for v, run in itertools.groupby(layout[:end])]
             for end in range(1, len(layout) + 1)]  # fmt: skip
    lengths = [len("+".join(some)) for some in terms if parse_layout("+".join(some), len(layout)) == layout]
    assert len(format_layout(layout)) == min(lengths)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_period_is_the_shortest_cycle(layers):
    found = [p for p in range(1, len(layers) + 1) if all(x == layers[i % p] for i, x in enumerate(layers))]
    assert period(layers) == min(found)


@pytest.mark.parametrize(
    ("spec", "layers", "said"),
    [
        ("5*swa(8)+full", 48, ""),
        ("swa(8)", 7, ""),
        ("5*swa(8)+full", 62, "62 layers: 10 cycles of 6 and 2 layers more"),
        ("2*swa(8)+full", 4, "4 layers: 1 cycle of 3 and 1 layer more"),
        ("5*swa(8)+full", 4, "4 layers: the first 4 of a cycle of 6"),
        (" layers.json", 5, ""),
    ],
)
def test_a_cycle_that_is_cut_says_so(spec, layers, said):
    assert describe_cut(spec, layers) == said


@pytest.mark.parametrize(
    ("spec", "layers", "message"),
    [
        ("swa(0)", 4, "at least 1 key .* got 0"),
        ("swa(4, sinks=-1)", 4, "sinks must be at least 0"),
        ("swaa(8)", 4, r"no attention variant 'swaa' \(did you mean 'swa'\?\); accepted: full, swa\(window, sinks=0\)"),
        ("swa", 4, r"'swa' lacks window; accepted: swa\(window, sinks=0\)"),
        ("swa(8, sink=2)", 4, r"'sink' which it does not have \(did you mean 'sinks'\?\)"),
        ("swa(8, window=9)", 4, "'window' twice"),
        ("swa(8, 1, 2)", 4, "'2' which it does not have"),
        ("swa(big)", 4, "window must be a whole number, got 'big'"),
        ("full(3)", 4, "'3' which it does not have"),
        ("0*full", 4, "repeats a variant 0 times"),
        ("", 4, "cannot read ''"),
        ("full+", 4, "cannot read ''"),
        ("swa(8", 4, "cannot read attention variant"),
        (["full"], 4, "got 1 entries for 4 layers"),
    ],
)
def test_bad_layouts_say_what_is_accepted(spec, layers, message):
    with pytest.raises(ValueError, match=message):
        parse_layout(spec, layers)


def test_a_variant_prints_as_it_is_written():
    assert [str(parse_variant(text)) for text in ("full", "swa(8)", "swa( 8,2 )")] == [
        "full",
        "swa(8)",
        "swa(8, sinks=2)",
    ]


@pytest.mark.parametrize(
    "text", ["spans(0.3333333N)", "spans(0.00001N|64+0.25N|full)", "swa(2147483647)", "evict(knorm, budget=2147483647)"]
)
def test_awkward_numbers_are_spelt_as_they_are_read(text):
    assert parse_variant(str(parse_variant(text))) == parse_variant(text)


def test_half_a_span_is_no_span():
    with pytest.raises(ValueError, match="must be spans like"):
        parse_variant("spans(64+)")
    with pytest.raises(ValueError, match=r"rules must be spans like .*, got '64\|1/0N'"):
        parse_variant("spans(64|1/0N)")


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_variant_is_made_from_its_own_fields(text):
    variant = parse_variant(text)
    fields = {field.name: getattr(variant, field.name) for field in dataclasses.fields(variant)}
    assert make(variant.name, **fields) == variant == make(text)


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("SWA", {"window": np.int64(7)}, "swa(7)"),
        ("routed", {"spans": [5, "full"], "sinks": 2}, "routed(5|full, sinks=2)"),
        ("routed", {"spans": (5, UNBOUNDED), "router": "keynorm", "threshold": 1.5},
         "routed(5|full, router=keynorm, threshold=1.5)"),
        ("spans", {"rules": "64+0.25N|full"}, "spans(64+0.25N|full)"),
        ("evict", {"policy": "knorm", "budget": 64, "recent": None}, "evict(knorm, budget=64)"),
    ],
)  # fmt: skip
def test_parameters_are_pythons_or_a_layouts(name, parameters, text):
    assert make(name, **parameters) == parse_variant(text)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("swaa", {"window": 7}, r"no attention variant 'swaa' \(did you mean 'swa'\?\); accepted: full"),
        ("swa", {"windw": 7}, r"'windw' which it does not have \(did you mean 'window'\?\); accepted: swa\(window"),
        ("swa", {}, "'swa' lacks window"),
        ("swa", {"window": 7.5}, "window must be a whole number, got '7.5'"),
        ("swa", {"window": "7, sinks=2"}, "window must be a whole number, got '7, sinks=2'"),
        ("swa(7)", {"sinks": 2}, r"no attention variant 'swa\(7\)'"),
        ("swa", {"window": 0}, "window must be at least 1 key"),
    ],
)
def test_what_cannot_be_made_is_one_line(name, parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(name, **parameters)
    assert "\n" not in str(caught.value)
