"""Models are asked, and one that cannot do a task says so."""

from __future__ import annotations

from dataclasses import dataclass

from eval.quality.ruler.retrieve import Retrieved, Row, retrieve
from eval.quality.ruler.sample import Sample
from eval.quality.ruler.score import Answered, recalled
from eval.quality.ruler.tasks import task_named

TASK = task_named("passkey")
SHORT = (Sample("a", ("17",), (0.0,)), Sample("b", ("18",), (1.0,)))
LONG = (Sample("c", ("19",), (0.5,)),)


@dataclass
class Says:
    """A model that says what it is told to, whatever the prompt."""

    text: str

    def generate(self, prompt: str, new_tokens: int) -> str:
        assert new_tokens == 16
        return self.text


def test_each_layout_is_asked_at_each_length():
    told = []
    models = {"full": Says("17 19"), "swa(7)": Says("18"), "swa(5)": Says("")}
    found = retrieve(models, TASK, {37: SHORT, 41: LONG}, lambda: told.append(1))
    assert [(row.layout, row.tokens, row.recalled.samples, row.recalled.mean) for row in found.rows] == [
        ("full", 37, 2, 0.5), ("full", 41, 1, 1), ("swa(7)", 37, 2, 0.5), ("swa(7)", 41, 1, 0), ("swa(5)", 37, 2, 0),
        ("swa(5)", 41, 1, 0),
    ]  # fmt: skip
    assert [row.recalled.by_depth[-1].found for row in found.rows[::2]] == [0, 1, 0]
    assert not found.unable and len(told) == 9 and found.task is TASK


def test_where_full_attention_recalls_nothing_no_other_layout_is_asked():
    found = retrieve({"full": Says("20"), "swa(7)": Says("17 18 19")}, TASK, {37: SHORT, 41: LONG})
    assert found.unable and [row.layout for row in found.rows] == ["full", "full"]
    some = retrieve({"full": Says("19"), "swa(7)": Says("")}, TASK, {37: SHORT, 41: LONG})
    assert not some.unable and len(some.rows) == 4


def test_what_a_window_recalls_makes_no_model_able():
    nothing, all_of_it = (recalled(Answered(one, text) for one in LONG) for text in ("", "19"))
    assert Retrieved(TASK, (Row("full", 41, nothing), Row("swa(7)", 41, all_of_it))).unable
