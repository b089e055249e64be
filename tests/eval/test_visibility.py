"""What a run shows of who saw whom, against what each variant counts: every registered variant passes here."""

from __future__ import annotations

import numpy as np
import pytest

from attention.cost import Heads
from attention.layout import parse_variant
from attention.registry import VARIANTS
from eval.pattern_pictures import save_pictures, terminal_picture
from eval.visibility import seen_keys
from tests.examples import EXAMPLES

pytestmark = pytest.mark.usefixtures("fast_compile")

TOKENS = 31


@pytest.mark.parametrize("text", EXAMPLES)
def test_what_was_seen_is_what_is_counted_and_never_the_future(text: str) -> None:
    variant = parse_variant(text).at_length(TOKENS)
    seen_nts = seen_keys(variant, TOKENS, n_heads=6, n_kv_heads=2)
    assert not (seen_nts & ~np.tri(TOKENS, dtype=bool)).any()
    assert seen_nts[:, np.arange(TOKENS), np.arange(TOKENS)].all(), "a query sees its own key"
    assert seen_nts.sum() == variant.useful(Heads(6, 2, 32, 64), TOKENS).pairs


def test_the_plainest_pictures() -> None:
    assert terminal_picture(seen_keys(parse_variant("swa(2)"), 4)[0]) == "█▄\n ▀█▄"
    assert terminal_picture(np.tri(3, dtype=bool)) == "█▄\n▀▀▀"


def test_a_picture_of_each(tmp_path) -> None:
    path = save_pictures(tmp_path / "deep" / "all.png", {name: np.tri(5, dtype=bool) for name in VARIANTS})
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_not_a_plot() -> None:
    with pytest.raises(ValueError, match="1 to 512 tokens, got 513"):
        seen_keys(parse_variant("full"), 513)
