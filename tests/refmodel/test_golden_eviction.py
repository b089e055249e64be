"""Golden files of eviction: what kvpress kept and computed, chunk by chunk and after the prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.golden.eviction.compare import AFTER_PROMPT, CHUNK, IN_CHUNKS, PROMPT, TOKENS, errors

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-4
pytestmark = pytest.mark.usefixtures("fast_compile")


def golden(form: str, policy: str):
    return np.load(GOLDEN / "eviction" / f"{form}-{policy}.npz")


@pytest.mark.parametrize("policy", IN_CHUNKS)
def test_in_chunks(policy):
    found = errors(GOLDEN / "moe", policy, golden("chunks", policy), True)
    assert all(found.same_positions), found.same_positions
    assert found.logits < TOLERANCE


def test_in_chunks_then_decode():
    steps = (2 * CHUNK, 3 * CHUNK, *[1] * (TOKENS - PROMPT))
    found = errors(GOLDEN / "moe", "snapkv", golden("chunks", "snapkv"), True, steps)
    assert all(found.same_positions), found.same_positions
    assert found.logits < TOLERANCE


@pytest.mark.parametrize("policy", sorted(set(AFTER_PROMPT) - set(IN_CHUNKS)))
def test_after_the_prompt_then_decode(policy):
    steps = (PROMPT, *[1] * (TOKENS - PROMPT))
    found = errors(GOLDEN / "moe", policy, golden("after", policy), False, steps)
    assert all(found.same_positions), found.same_positions
    assert found.logits < TOLERANCE


@pytest.mark.parametrize("change", [{"budget": 17}, {"chunk": 15}])
def test_a_wrong_setting_is_noticed(change):
    found = errors(GOLDEN / "moe", "snapkv", golden("chunks", "snapkv"), True, **change)
    assert not any(found.same_positions)
    assert found.logits > 5 * TOLERANCE
