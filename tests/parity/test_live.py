"""The cases of the golden files, built anew by the transformers at hand, with other weights and tokens."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.golden.compare import errors
from tests.golden.make_golden import CASES, write

TOLERANCE = 1e-4
pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize("seed", [101, 103])
@pytest.mark.parametrize("case", CASES)
def test_logits_and_every_layer(case, seed, tmp_path):
    write(tmp_path, case, seed)
    found = errors(tmp_path)
    assert found.layers.max() < TOLERANCE, f"per layer: {found.layers}"
    assert found.logits < TOLERANCE


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 257])
@pytest.mark.parametrize("case", ["gpt-oss", "gpt-oss-full-first", "mistral", "ministral", "gemma4", "gemma4-dense"])
def test_lengths_around_a_window(case, tokens, tmp_path):
    write(tmp_path, case, 107, tokens, sliding_window=64)
    cuts = [tokens // 3, tokens - tokens // 3 - 1, 1] if tokens > 2 else None
    for steps in (None, cuts):
        found = errors(tmp_path, steps)
        assert max(found.layers.max(), found.logits) < TOLERANCE, f"{steps}, per layer: {found.layers}"
