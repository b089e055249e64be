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
