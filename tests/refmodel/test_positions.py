"""Scaled positions: the logits of transformers, within the original context and beyond, in one step and in several."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.cache import init_cache
from refmodel.model import prefill, step
from refmodel.parts import Rope
from refmodel.read_hf_config import from_hf
from refmodel.rope import rope_angles
from refmodel.rope_scaling import Divided, Dynamic, LongRope, Stretched
from tests.checkpoints import load
from tests.golden.position_cases import BASES, CASES, FEW_TOKENS, ORIGINAL, TOKENS

FOLDER = Path(__file__).parents[1] / "golden" / "positions"
TOLERANCE = 1e-4
pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def golden():
    """By base: its parameters and what transformers computed."""
    return {base: (load(FOLDER / base, jnp.float32)[1], np.load(FOLDER / base / "golden.npz")) for base in BASES}


def in_fast_lane(cases, *fast):
    """The cases, all but the fast ones marked as slow."""
    return [pytest.param(case, marks=() if case in fast else pytest.mark.slow) for case in cases]


def config_of(case):
    base, fields = CASES[case]
    return base, from_hf(json.loads((FOLDER / base / "config.json").read_text()) | fields)


@pytest.mark.parametrize("tokens", [FEW_TOKENS, TOKENS])
@pytest.mark.parametrize("case", CASES)
def test_frequencies_of_transformers(case, tokens, golden):
    base, config = config_of(case)
    assert not config.cannot_run
    for layer in config.at_length(tokens).layers:
        window = "full" if str(layer.mixer) == "full" else "sliding"
        kind = f"{window}_attention_" if base == "gemma3_text" else ""
        *frequency_h, factor = golden[base][1][f"{case}: {tokens}: {kind}"]
        np.testing.assert_allclose(layer.rope.frequencies(16), frequency_h, rtol=1e-6)
        assert layer.rope.attention_factor == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize("tokens", [FEW_TOKENS, TOKENS])
@pytest.mark.parametrize("case", in_fast_lane(CASES, "yarn, not truncated", "two kinds, by length"))
def test_logits_of_transformers(case, tokens, golden):
    base, config = config_of(case)
    params, expected = golden[base]
    logits = jax.jit(lambda ids: prefill(config, params, ids, logits="all")[0])
    assert np.abs(logits(expected["tokens"][:, :tokens]) - expected[f"{case}: {tokens}"]).max() < TOLERANCE


@pytest.mark.parametrize("case", in_fast_lane(("yarn", "dynamic", "longrope", "two kinds, by length"), "dynamic"))
def test_chunks_and_decode_are_one_shot(case, golden):
    """Positions that depend on the length take the one that the sequence was made for, in every step."""
    base, config = config_of(case)
    params, expected = golden[base]
    tokens_bt, chunks = expected["tokens"], 30
    logits_bv, cache = jax.jit(
        lambda ids: prefill(config, params, ids, chunk_tokens=7, capacity_tokens=TOKENS)
    )(tokens_bt[:, :chunks])  # fmt: skip
    decode = jax.jit(lambda cache, ids: step(config.at_length(TOKENS), params, cache, ids))
    found = [logits_bv]
    for position in range(chunks, TOKENS):
        logits_bv, cache = decode(cache, tokens_bt[:, position : position + 1])
        found.append(logits_bv)
    assert np.abs(np.stack(found, 1) - expected[f"{case}: {TOKENS}"][:, chunks - 1 :]).max() < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_each_case_differs_from_plain_positions(case, golden):
    """So that a scaling which is read and not applied would be seen."""
    expected = golden["llama"][1]
    if CASES[case][0] == "llama" and not case.startswith("default"):
        logits, plain = (expected[f"{one}: {TOKENS}"] for one in (case, "default, a factor left over"))
        assert np.abs(logits - plain).max() > 100 * TOLERANCE


def test_by_length_positions_ask_for_it(golden):
    _, config = config_of("dynamic")
    with pytest.raises(ValueError, match="dynamic positions depend on the length of the sequence: take the model"):
        step(config, golden["llama"][0], init_cache(config, 1, 3), jnp.zeros((1, 2), jnp.int32), first=True)
    assert config.layers[0].rope == Rope(100.0, Dynamic(3.0, ORIGINAL))


def test_the_length_decides_at_the_original_context():
    factors = LongRope((1.0, 2.0), (3.0, 5.0), 16, 1.5)
    assert factors.at_length(16) == Divided((1.0, 2.0), 1.5) and factors.at_length(17) == Divided((3.0, 5.0), 1.5)
    assert Dynamic(3.0, 16).at_length(11) == Dynamic(3.0, 16).at_length(16) == Stretched(1.0)
    assert Dynamic(3.0, 16).at_length(24) == Stretched(2.5)
    with pytest.raises(ValueError, match="longrope positions depend on the length"):
        factors.frequencies(1e4, 4)


def test_the_attention_factor_is_in_both_rotations():
    position = jnp.array([[5]])
    plain, scaled = (rope_angles(position, 4, Rope(1e4, Divided((1.0, 1.0), by))) for by in (1.0, 1.5))
    np.testing.assert_allclose(scaled, 1.5 * np.array(plain), rtol=1e-6)
