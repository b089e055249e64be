"""Windows: the picture in the module's own words is the mask."""

from __future__ import annotations

import numpy as np
import pytest

from attention import sliding_window, span_mixture
from attention.mask import dense_mask
from attention.parameters import SpanRule
from attention.pattern import UNBOUNDED
from attention.sliding_window import SlidingWindow
from attention.span_mixture import SpanMixture


def drawn(doc: str, column: int) -> np.ndarray:
    """Whether there is a sign for each query, downwards, and key: a picture, of those that stand side by side."""
    pictures = [line.split("q ")[1:] for line in doc.splitlines() if line.lstrip().startswith("q ")]
    rows = [row[column].removeprefix(str(place)).ljust(40) for place, row in enumerate(pictures)]
    return np.array([[row[3 + 2 * key] in "xs" for key in range(len(rows))] for row in rows])


@pytest.mark.parametrize(
    ("doc", "variant"),
    [
        (sliding_window.__doc__, SlidingWindow(3, sinks=1)),
        (span_mixture.__doc__, SpanMixture((SpanRule(2), SpanRule(UNBOUNDED)), sinks=1)),
    ],
)
def test_a_picture_is_the_mask(doc, variant):
    pattern, place = variant.pattern(), np.arange(len(drawn(doc, 0)))
    [mask_nts] = dense_mask(pattern, place[None], place[None, None], len(pattern.span))
    for head, mask_ts in enumerate(mask_nts):
        np.testing.assert_array_equal(mask_ts, drawn(doc, head))
