"""kvpress, live, on random Qwen3-MoE models that the golden files have not seen."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("kvpress")

from tests.golden.eviction.compare import AFTER_PROMPT, IN_CHUNKS, PROMPT, TOKENS, errors
from tests.golden.make_golden import write
from tests.parity_eviction.make_golden import compute

TOLERANCE = 1e-4
STEPS = (PROMPT, *[1] * (TOKENS - PROMPT))
pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("moe")
    write(path, "moe", seed=103)
    return path


@pytest.mark.parametrize("policy", IN_CHUNKS)
def test_in_chunks(policy, folder):
    found = errors(folder, policy, compute(folder, policy, True, seed=7), True, STEPS)
    assert all(found.same_positions), found.same_positions
    assert found.logits < TOLERANCE


@pytest.mark.parametrize("policy", AFTER_PROMPT)
def test_after_the_prompt(policy, folder):
    found = errors(folder, policy, compute(folder, policy, False, seed=7), False, STEPS)
    assert all(found.same_positions), found.same_positions
    assert found.logits < TOLERANCE
