"""The assertions for variants: every registered one passes, and each assertion fails where it should."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from attention.attended import Attended, AttendFn
from attention.cost import Cost, Heads
from attention.layout import parse_variant
from attention.pattern import SpanPattern
from attention.sliding_window import SlidingWindow
from attention.variant import LayerInput
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense
from eval.testing.variant_case import VariantCase
from eval.testing.visibility import MOST_TOKENS
from tests.attention.test_block_routed import mask_by_hand
from tests.examples import ATTENDING, EXAMPLES

pytestmark = pytest.mark.usefixtures("fast_compile")

HEADS = Heads(6, 2, 8, 11)


@dataclass(frozen=True)
class Peeking(SlidingWindow):
    """A window that has slipped by one: a query reads the key after its own."""

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        return attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt + 1, layer.kv_pos_bks, self.pattern())


@dataclass(frozen=True)
class Wider(SlidingWindow):
    """Its kernel runs a window of one key more than its pattern says."""

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        wider = SpanPattern((self.window + 1,))
        return attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt, layer.kv_pos_bks, wider)


@dataclass(frozen=True)
class Miscounted(SlidingWindow):
    """Its count is off by one."""

    def useful(self, heads: Heads, tokens: int, start: int = 0) -> Cost:
        cost = super().useful(heads, tokens, start)
        return cost._replace(pairs=cost.pairs - 1)


@dataclass(frozen=True)
class Underpaid(SlidingWindow):
    """It counts the visible pairs as executed, as if tiles were free."""

    def executed(self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto") -> Cost:
        return self.useful(heads, tokens, start)


@dataclass(frozen=True)
class Deaf(SlidingWindow):
    """No query reads anything."""

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        return Attended(jnp.zeros_like(layer.q_btnh))


@pytest.mark.slow
@pytest.mark.parametrize("text", ATTENDING)
def test_every_variant_is_dense_attention_under_its_mask_however_it_is_fed(text):
    assert_matches_dense(parse_variant(text))


def test_a_recurrent_state_has_nothing_dense_beside_it():
    with pytest.raises(ValueError, match=r"delta\(.*\) is no softmax attention"):
        assert_matches_dense(parse_variant("delta(2, 6, 6, 10)"))


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_variant_counts_what_runs(text):
    assert_flops_agree(parse_variant(text), tokens=229)


def test_pairs_are_counted_beyond_what_a_picture_shows():
    assert_flops_agree(parse_variant("swa(509)"), tokens=MOST_TOKENS + 9, heads=Heads(1, 1, 2, 3))


CHOOSING = (
    "routed(17|full)", "routed(5|90|full, per=group)", "moba(16, topk=3)",
    "routed(9|70, router=keynorm, threshold=2.3, per=head)",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "impl"), [*((text, "blockwise") for text in EXAMPLES + CHOOSING), *((text, "dense") for text in CHOOSING)]
)
def test_in_no_variant_does_a_token_reach_the_past(text, impl):
    assert_causal(parse_variant(text), tokens=229, heads=HEADS, impl=impl)


@pytest.mark.parametrize(
    ("check", "variant", "message"),
    [
        (assert_causal, Peeking(5), r"is not causal: head 0 of token 2 changed with the tokens from 3 on"),
        (assert_causal, Deaf(5), r"is deaf: head 0 of token 0 did not change"),
        (assert_matches_dense, Peeking(5), "under its pattern .* first at batch row 0, token 0, head 0, component 0"),
        (assert_matches_dense, Wider(5), r"span=\(5,\).* first at batch row 0, token 5, head 0, component 0: "),
        (assert_flops_agree, Miscounted(5), r"counts 4,409 useful pairs; the keys that a run gave a weight: 4,410"),
        (assert_flops_agree, Wider(5), r"counts 4,410 useful pairs; the keys that a run gave a weight: 5,274"),
        (assert_flops_agree, Underpaid(5), r"executed FLOPs; the traced program: "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SlidingWindow) else getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_found_and_named(check, variant, message):
    with pytest.raises(AssertionError, match=message) as caught:
        check(variant)
    assert "swa(5)" in str(caught.value) and "seed 0" in str(caught.value) and "n_heads=6" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_keys_beyond_the_pattern_are_named():
    """A count of its own takes the pattern's word away, but not its bound."""

    @dataclass(frozen=True)
    class Beyond(Wider, Miscounted):
        pass

    with pytest.raises(AssertionError, match=r"head 0 of token 5 in batch row 0 sees key 0, beyond its pattern"):
        assert_matches_dense(Beyond(5))


def test_a_mask_by_hand_is_taken_at_its_word():
    variant = parse_variant("moba(block=5, topk=2)")
    assert_matches_dense(variant, mask=lambda layer: mask_by_hand(variant, layer), tokens=37)
    with pytest.raises(AssertionError, match="under the mask given"):
        assert_matches_dense(variant, mask=lambda layer: np.tri(37, dtype=bool)[None, None].repeat(6, 1), tokens=37)


def test_steps_are_those_that_a_variant_allows():
    def steps(text: str) -> list[tuple[int, ...]]:
        return list(VariantCase(parse_variant(text), 97, HEADS, 0).schedules())

    assert steps("full") == [(97,), (48, 47, 1, 1)]
    assert steps("evict(knorm, budget=13, chunk=11, sinks=2)") == [(97,), (44, 44, 7, 1, 1)]
    assert steps("evict_after(h2o, budget=16)") == [(97,), (95, 1, 1)]


@pytest.mark.parametrize(
    ("text", "tokens", "message"),
    [
        ("full", 7, "at least 8 tokens"),
        ("evict(knorm)", 97, "chunk of 1024 tokens is larger than the prompt of 97"),
        ("spans(5|full|7|9)", 97, "4 spans for 6 query heads"),
    ],
)
def test_what_would_show_nothing_is_refused(text, tokens, message):
    with pytest.raises(ValueError, match=message):
        assert_matches_dense(parse_variant(text), tokens=tokens)


def test_an_unknown_implementation_is_refused():
    with pytest.raises(ValueError, match="no attention implementation 'blockwize'"):
        assert_causal(parse_variant("full"), impl="blockwize")
