"""Layouts by name: every spelling of one is the same, and what no registry knows has to be at hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from attention.full import Full
from attention.pattern import SpanPattern
from attention.sliding_window import SlidingWindow
from attention.variant import Variant
from eval.measure.named_layout import LayoutNames, NamedLayout, named_layouts


@dataclass(frozen=True)
class Stripe(Variant):
    name = "stripe"
    window: int

    def pattern(self) -> SpanPattern:
        return SpanPattern(span=(self.window,))


def test_full_attention_comes_first_and_spellings_do_not_split_a_layout():
    found = named_layouts(["2*swa(window=5)+full", (SlidingWindow(5), SlidingWindow(5), Full()), "full"], 3)
    assert [layout.name for layout in found] == ["full", "2*swa(5)+full"]
    assert [layout.is_full for layout in found] == [True, False]
    assert found[1].counts == {SlidingWindow(5): 2, Full(): 1}
    assert [(layer.name, layer.variants) for layer in found[1].single_layers] == [
        ("swa(5)", (SlidingWindow(5),)), ("full", (Full(),))
    ]  # fmt: skip


def test_a_name_is_read_or_found_among_those_at_hand():
    striped = NamedLayout.of(Stripe(7), 3)
    names = LayoutNames(3, [striped])
    assert names.layout("stripe(7)") is striped and names.single_layer("stripe(7)").variants == (Stripe(7),)
    assert names.layout("swa(5)+full").variants == (SlidingWindow(5), Full(), SlidingWindow(5))
    assert names.layout(" swa( window=5 ) ") == names.layout("swa(5)")
    for wrong in ("stripe(5)", "5*stripe(7)+full"):
        with pytest.raises(ValueError, match=r"cannot read the layout '.*' of the records: no .* 'stripe'.*--plugin"):
            names.layout(wrong)
    with pytest.raises(ValueError, match=r"the layout 'swa.five.' of the records: .*window must be") as caught:
        names.layout("swa(five)")
    assert "--plugin" not in str(caught.value)


class Narrow(SlidingWindow):
    """Somebody's own under a name that is taken."""

    def pattern(self) -> SpanPattern:
        return SpanPattern(span=(2,))


def test_a_variant_that_is_spelled_as_another_is_refused():
    """Its records would be the other's."""
    with pytest.raises(ValueError, match=r"Narrow\(window=5, sinks=0\) is spelled 'swa\(5\)', which reads as Sliding"):
        named_layouts([Narrow(5)], 3)
