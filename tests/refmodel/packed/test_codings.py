"""Every coding: by its name, the bytes that it takes, the depths that it holds, and random weights in it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from refmodel.packed.codings import codings, parse_coding

pytestmark = pytest.mark.usefixtures("fast_compile")

CODINGS = codings()
MULTIPLES = {
    "int4": 64, "int8": 64, "fp8": 1, "uint4": 128, "fp8_blocks": 128, "q4_k": 256, "q5_k": 256, "q6_k": 256,
    "iq4_xs": 256, "q8_0": 32,
}  # fmt: skip
"""Of which a row is; 64 numbers where a coding is not here."""
BITS = {
    "int4": 4.5, "int8": 8.25, "fp8": 8 + 16 / 768, "uint4": 4.15625, "fp8_blocks": 8.25, "q4_0": 4.5, "q4_1": 5,
    "q5_0": 5.5, "q5_1": 6, "q8_0": 8.5, "q4_k": 4.5, "q5_k": 5.5, "q6_k": 6.5625, "iq4_nl": 4.5, "iq4_xs": 4.25,
    "mxfp4": 4.25,
}  # fmt: skip
"""A weight, of one row of 768."""


@pytest.mark.parametrize("name", CODINGS)
def test_a_coding_is_found_by_its_name(name):
    assert parse_coding(f" {name.upper()} ") == CODINGS[name] == parse_coding(CODINGS[name].name)


@pytest.mark.parametrize(
    ("text", "name", "group", "bits"),
    [("int4(128)", "int4(128)", 128, 4), ("int8(48)", "int8(48)", 48, 8), ("fp8(64)", "fp8(64)", 64, 8),
     ("uint4(64)", "uint4(64)", 64, 4)],
)  # fmt: skip
def test_a_group_is_read(text, name, group, bits):
    coding = parse_coding(text)
    assert (coding.name, coding.group, coding.bits) == (name, group, bits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q4_m", r"no format of weights 'q4_m' \(did you mean 'q4_"),
        ("", "no format of weights ''; accepted: int4, int8, fp8, uint4, fp8_blocks, q4_0, q4_1"),
        ("int4(", r"no format of weights 'int4\('"),
        ("int4()", r"no format of weights 'int4\(\)'"),
        ("int4(-32)", r"no format of weights 'int4\(-32\)'"),
        ("int4(0)", "int4 takes groups of a multiple of 16, got 0"),
        ("int8(24)", "int8 takes groups of a multiple of 16, got 24"),
        ("q4_k(32)", r"q4_k has groups of its own, got 'q4_k\(32\)'; accepted: q4_k"),
        ("fp8_blocks(128)", "fp8_blocks has groups of its own"),
    ],
)
def test_another_text_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_coding(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CODINGS)
def test_a_coding_holds_whole_blocks(name):
    coding, multiple = CODINGS[name], MULTIPLES.get(name, 64)
    for depth in range(16, 1040, 16):
        assert coding.holds(depth) == (depth % multiple == 0), depth
        if not coding.holds(depth):
            with pytest.raises(ValueError, match=rf"a multiple of {multiple} numbers, got {depth}"):
                coding.shapes(7, depth)


@pytest.mark.parametrize("name", CODINGS)
def test_what_a_coding_takes(name):
    coding = CODINGS[name]
    assert coding.bits_per_weight(768) == BITS[name]
    parts = jax.eval_shape(lambda key: coding.draw(key, (3, 130, 768), 1.0), jax.random.key(0))
    assert 3 * coding.matrix_bytes(130, 768) == sum(part.size * part.dtype.itemsize for part in parts.values())
    shapes = {name: ((3, *shape), dtype) for name, (shape, dtype) in coding.shapes(130, 768).items()}
    assert {name: (part.shape, part.dtype) for name, part in parts.items()} == shapes


@pytest.mark.parametrize("std", [0.02, 3.0])
@pytest.mark.parametrize("name", CODINGS)
def test_random_weights_have_the_mean_and_the_deviation_that_are_asked_for(name, std):
    coding = CODINGS[name]
    parts = coding.draw(jax.random.key(3), (2, 129, 1024), std)
    weight = np.asarray(coding.decode(parts, 129, 1024), np.float64)
    assert weight.shape == (2, 129, 1024)
    assert abs(weight.mean()) < 0.12 * std  # IQ4's values have one of -0.085 themselves
    assert weight.std() == pytest.approx(std, rel=0.03)
    assert len(np.unique(weight[0, 0])) > 14  # every level is there
