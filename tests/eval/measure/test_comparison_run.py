"""From what was asked for to a sweep: what is found before the weights are read."""

from __future__ import annotations

import pytest

import eval as prefillwall
from eval.measure import comparison_run


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("layouts", "message"),
    [(["swaa(5)"], "no attention variant 'swaa'"), (["2*full", ["full"] * 3], "3"), (["spans(5|7|9)"], "heads")],
)
def test_a_layout_that_does_not_fit_is_found_before_the_weights_are_read(monkeypatch, apart, layouts, message):
    for name in ("read_model", "random_layers"):
        monkeypatch.setattr(comparison_run, name, lambda *_: pytest.fail("the weights are read"))
    for asked in ({"layouts": layouts}, {"layouts": ["full"], "whole": layouts}):
        with pytest.raises(ValueError, match=message):
            prefillwall.compare("tiny-dense", tokens=[17], layers_apart=apart, **asked)
