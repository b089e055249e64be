"""Pictures of who saw whom; `eval.testing` holds what they show to what each registered variant counts."""

from __future__ import annotations

import numpy as np
import pytest

from attention.layout import parse_variant
from attention.variants import VARIANTS
from eval.report.pattern_pictures import save_pictures, terminal_picture
from eval.testing.visibility import seen_keys

pytestmark = pytest.mark.usefixtures("fast_compile")


def test_the_plainest_pictures() -> None:
    assert terminal_picture(seen_keys(parse_variant("swa(2)"), 4)) == "█▄\n ▀█▄"
    np.testing.assert_array_equal(seen_keys("swa(2)", 4), seen_keys(parse_variant("swa(2)"), 4))
    assert terminal_picture(np.tri(3, dtype=bool)[None]) == "█▄\n▀▀▀"
    mixed = seen_keys(parse_variant("spans(1|1|full, sinks=0)"), 4, n_heads=3)
    assert terminal_picture(mixed) == "▀▄     █▄\n  ▀▄   ███▄"


def test_a_picture_of_each(tmp_path) -> None:
    path = save_pictures(tmp_path / "deep" / "all.png", {name: np.tri(5, dtype=bool)[None] for name in VARIANTS})
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_not_a_plot() -> None:
    with pytest.raises(ValueError, match="1 to 512 tokens, got 513"):
        seen_keys(parse_variant("full"), 513)
