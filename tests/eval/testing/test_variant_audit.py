"""An audit says of each check whether it holds, fails or has nothing to ask."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from attention.backends.base import Backend
from attention.backends.registry import BACKENDS
from attention.full import Full
from attention.sliding_window import SlidingWindow
from eval.testing import audit
from eval.testing.variant_audit import CHECKS, LENGTHS, Verdict
from eval.testing.variant_case import DoesNotApply
from tests.eval.testing.test_assertions import HEADS, Peeking
from tests.eval.testing.test_runs_agree import DeafInDecode, HalfOfThePrompt

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize(
    ("variant", "failing"),
    [
        (Peeking(5), {"causal": "not causal", "steps": "under its pattern", "counts": "useful pairs"}),
        (HalfOfThePrompt(5), {"prefix": "of its first 15 tokens"}),
        (DeafInDecode(5), {"steps": r"\+1\+1"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SlidingWindow) else "",
)
def test_each_check_finds_its_fault(variant, failing):
    found = audit(variant, tokens=31)
    assert {name for name, verdict in found.verdicts.items() if verdict.status == "fails"} >= failing.keys()
    assert not found.holds
    for name, words in failing.items():
        with pytest.raises(AssertionError, match=words):
            CHECKS[name](variant, tokens=31)
        assert words.replace("\\", "") in found.verdicts[name].why and "\n" not in found.verdicts[name].why


def test_what_has_nothing_to_ask_says_why(monkeypatch):
    def refuse(*_, **__):
        raise DoesNotApply("not of this one")

    monkeypatch.setattr("eval.testing.variant_audit.CHECKS", {"causal": refuse})
    found = audit("swa(5)", tokens=31)
    assert found.verdicts == {"causal": Verdict("does not apply", "not of this one")}
    assert not found.holds and found.status == "does not apply"  # for nothing does
    monkeypatch.setattr("eval.testing.variant_audit.CHECKS", {"causal": refuse, "steps": lambda *_, **__: None})
    assert audit("swa(5)", tokens=31).holds


@pytest.mark.parametrize("kind", [ValueError, TypeError, ZeroDivisionError])
def test_a_variant_that_dies_fails(kind):
    @dataclass(frozen=True)
    class Dying(SlidingWindow):
        def attend(self, attend, layer):
            raise kind("of a bug\nin two lines")

    found = audit(Dying(5), tokens=31)
    assert {(one.status, one.why) for one in found.verdicts.values()} == {("fails", f"{kind.__name__}: of a bug")}


class PromptsOnly(Backend):
    """A library's kernel, say: it takes one step of a prompt, and does not tell what it executes."""

    name = "prompts-only"

    def cannot(self, request):
        return None if request.q_btnh.shape[1] == request.k_bskh.shape[1] else f"{self.name} takes prompts in one step"

    def run(self, operands, *, need_lse):
        return dataclasses.replace(BACKENDS["dense"].run(operands, need_lse=need_lse), impl=(self.name,), visited=None)


def test_what_a_backend_does_not_take_or_tell_is_no_fault_of_a_variant():
    with BACKENDS.temporarily(PromptsOnly()):
        found = audit("swa(5)", tokens=31, impl="prompts-only")
        peeking = audit(Peeking(5), tokens=31, impl="prompts-only")
    assert {name: one.status for name, one in found.verdicts.items()} == {
        "causal": "holds", "prefix": "holds", "steps": "does not apply", "counts": "holds",
    }  # fmt: skip
    assert found.holds and "takes prompts in one step" in found.verdicts["steps"].why
    assert peeking.verdicts["counts"].status == "fails"  # the pairs that it sees are looked at all the same


@dataclass(frozen=True)
class Halved(SlidingWindow):
    """A window whose result is halved, whatever was seen."""

    def attend(self, attend, layer):
        found = super().attend(attend, layer)
        return dataclasses.replace(found, out_btnh=found.out_btnh / 2)


def test_what_makes_something_else_of_what_it_saw_is_told_from_what_steps_change():
    fault = audit(Halved(5), tokens=31).verdicts["steps"]
    assert fault.status == "fails" and fault.why.startswith("the same in any steps, but swa(5)")
    assert "the same in any steps" not in audit(DeafInDecode(5), tokens=31).verdicts["steps"].why
    with BACKENDS.temporarily(PromptsOnly()):  # whose steps are none
        found = audit(Halved(5), tokens=31, impl="prompts-only")
    assert found.status == "fails" and "is not dense attention" in found.verdicts["steps"].why


def test_no_length_is_not_the_default_length():
    with pytest.raises(ValueError, match="at least 8 tokens"):
        audit("swa(7)", tokens=0)


@pytest.mark.parametrize(("text", "tokens", "sees_all"), [
    ("swa(5)", LENGTHS[0], False), ("swa(97)", LENGTHS[1], False), ("swa(9999)", LENGTHS[0], True),
])  # fmt: skip
def test_it_takes_the_first_length_that_shows_the_variant(monkeypatch, text, tokens, sees_all):
    monkeypatch.setattr("eval.testing.variant_audit.CHECKS", {})
    found = audit(text)
    assert (found.tokens, found.sees_all) == (tokens, sees_all)
    assert audit(Full(), tokens=11).sees_all


def test_heads_that_a_variant_does_not_take_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match="heads"):
        audit("spans(3|5|7|9)", heads=HEADS)
