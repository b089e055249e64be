"""`prefillwall retrieve`: what it asks, and what it says of the answers."""

from __future__ import annotations

import json

import pytest

import eval.commands.retrieve
from eval.cli import main
from eval.commands.retrieve import UNABLE
from eval.quality.ruler.score import Answered
from refmodel.token_ids import text_ids

ASKED = ("retrieve", "--layouts", "swa(7)", "--tasks", "passkey", "--tokens", "257", "509", "--prompts", "3")


@pytest.fixture
def with_answers(with_words, monkeypatch):
    """Full attention answers everything at 257 tokens, a window what stands in the last tenth; the prompts are kept."""
    asked = []

    def answered(model, task, samples):
        asked.append((model.config.layout_name, samples))
        for one in samples:
            fits = len(one.prompt) < 1_400 if model.config.layout_name == "full" else one.depths[0] > 0.4
            yield Answered(one, " and ".join(one.answers) if fits else "")

    monkeypatch.setattr("eval.quality.ruler.retrieve.answered", answered)
    return asked


def test_what_comes_back_is_told_by_layout_length_and_depth(with_answers, with_words, capsys):
    assert main([*ASKED, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (task,) = record["tasks"]
    assert (task["task"], task["unable"], task["new_tokens"]) == ("passkey", False, 16)
    found = [(row["layout"], row["tokens"], row["samples"], round(row["mean"], 3)) for row in task["rows"]]
    assert found == [("full", 257, 3, 1), ("full", 509, 3, 0), ("swa(7)", 257, 3, 0.333), ("swa(7)", 509, 3, 0.333)]
    assert [one["found"] for one in task["rows"][2]["by_depth"]] == [0, 0, 1, 0, 0]
    full, _, window, _ = (samples for _, samples in with_answers)
    assert full == window
    counts = [len(text_ids(with_words.tokenizer, one.prompt, 257, "")) for one in full]
    assert all(200 < count <= 241 for count in counts)
    assert main(list(ASKED)) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines() if line.startswith(("full ", "swa(7) "))]
    assert rows[0] == ["full", "257", "100.0", "%", "1/1", "1/1", "1/1", "-", "-"]
    assert rows[3] == ["swa(7)", "509", "33.3", "%", "0/1", "0/1", "1/1", "-", "-"]
    assert "80-100 % deep" in printed and UNABLE not in printed


def test_a_model_that_cannot_do_a_task_is_said_to_be_unable(with_answers, capsys):
    """And a task that is asked for twice is asked once."""
    words = [*ASKED[:3], "--tasks", "passkey", "vt", "passkey", "--tokens", "1013", "--prompts", "1"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.count(UNABLE) == 2 and "passkey, a number among noise: " + UNABLE in printed
    assert "swa(7)" not in printed and {layout for layout, _ in with_answers} == {"full"}
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [(one["task"], one["unable"], len(one["rows"])) for one in record["tasks"]] == [
        ("passkey", True, 1), ("vt", True, 1),
    ]  # fmt: skip


def test_another_seed_draws_other_prompts(with_answers):
    for seed in ("1", "1", "2"):
        assert main([*ASKED, "--seed", seed]) == 0
    (_, first), (_, again), (_, other) = with_answers[::4]
    assert first == again and {one.prompt for one in first}.isdisjoint(one.prompt for one in other)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tasks", "niah"), "no task 'niah' (did you mean 'niah_single_3'?); accepted: passkey, niah_single_1"),
        (("--tokens", "257", "64k"), "tiny-dense is made for 40,960 tokens, got --tokens 65,536"),
        (("--tokens", "67"), "passkey needs at least "),
        (("--layouts", "swa(0)"), "window must be at least 1 key"),
        (("--model", "qwen3-0.6b"), "no tokenizer; give a checkpoint"),
    ],
)
def test_what_is_refused_is_refused_before_weights_are_read(words, said, with_words, monkeypatch, capsys):
    monkeypatch.setattr(eval.commands.retrieve, "read_model", lambda *_: pytest.fail("weights are read"))
    assert main(["retrieve", *words]) == 2
    assert said in capsys.readouterr().err
