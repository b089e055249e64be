"""Runs that have to agree: every example's do, and a fault of each kind is found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax.numpy as jnp
import pytest

from attention.attended import Attended, AttendFn
from attention.layout import parse_variant
from attention.sliding_window import SlidingWindow
from attention.variant import LayerInput
from eval.testing import assert_causal, assert_prefixes_agree, assert_steps_agree
from tests.examples import EXAMPLES

pytestmark = pytest.mark.usefixtures("fast_compile")


@dataclass(frozen=True)
class HalfOfThePrompt(SlidingWindow):
    """A window that is as wide as half of the prompt: causal, and another one for every prompt."""

    def at_length(self, tokens: int) -> SlidingWindow:
        return replace(self, window=tokens // 2)


@dataclass(frozen=True)
class DeafInDecode(SlidingWindow):
    """A token that comes alone reads nothing."""

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        found = super().attend(attend, layer)
        return replace(found, out_btnh=jnp.zeros_like(found.out_btnh)) if layer.q_btnh.shape[1] == 1 else found


@pytest.mark.parametrize("text", [text for text in EXAMPLES if "N" not in text])
def test_a_prompt_s_beginning_is_what_it_is_by_itself(text):
    assert_prefixes_agree(parse_variant(text), tokens=61)


@pytest.mark.parametrize(("variant", "token"), [(HalfOfThePrompt(5), 15), (parse_variant("spans(0.25N, sinks=2)"), 9)])
def test_a_rule_of_the_prompt_s_length_is_found(variant, token):
    assert_causal(variant, tokens=61)  # which keeps the length
    with pytest.raises(AssertionError, match=rf"not that of its first 30 tokens .* row 0, token {token}, head 0"):
        assert_prefixes_agree(variant, tokens=61)


@pytest.mark.parametrize(
    "text", ["spans(0.25N)", "evict(snapkv, budget=0.5, chunk=32)", "evict(knorm, budget=0.5, chunk=48)"]
)
def test_a_rule_whose_half_of_the_prompt_shows_nothing_is_found_too(text):
    """Sinks and what always stays hide it there: the longest beginning that has another rule is tried as well."""
    with pytest.raises(AssertionError, match=r"not that of its first 9\d tokens"):
        assert_prefixes_agree(parse_variant(text))


def test_a_prompt_too_short_to_have_a_beginning_is_refused():
    with pytest.raises(ValueError, match=r"more than 8 tokens .* got 8"):
        assert_prefixes_agree(SlidingWindow(5), tokens=8)


def test_a_recurrent_state_goes_on_from_step_to_step():
    assert_steps_agree(parse_variant("delta(2, 6, 6, 10)"), tokens=61)


def test_a_step_that_is_another_is_found():
    with pytest.raises(AssertionError, match=r"steps .*\+1\+1, .* is not what it is in one step: first at .* token 59"):
        assert_steps_agree(DeafInDecode(5), tokens=61)
