"""`prefillwall audit`."""

from __future__ import annotations

import json

import pytest

from eval.cli import main
from eval.testing.variant_audit import CHECKS

pytestmark = pytest.mark.usefixtures("fast_compile")

LOOKS_AHEAD = """
from dataclasses import dataclass
from attention import SpanPattern, Variant, register

@register
@dataclass(frozen=True)
class Ahead(Variant):
    "A window that reads the key after its own."
    name = "ahead"
    window: int
    def pattern(self):
        return SpanPattern((self.window,))
    def attend(self, attend, layer):
        q, k, v, q_pos, kv_pos = layer[1:6]
        return attend(q, k, v, q_pos + 1, kv_pos, self.pattern())
"""


def test_what_holds_is_told_of_each_variant_once(capsys):
    assert main(["audit", "--layouts", "5*swa(7)+full", "swa(7)", "--tokens", "31", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["variant"], one["tokens"], one["sees_all"]) for one in told["variants"]] == [
        ("swa(7)", 31, False), ("full", 31, True),
    ]  # fmt: skip
    for one in told["variants"]:
        assert one["verdicts"] == {name: {"status": "holds", "why": ""} for name in CHECKS}


def test_what_fails_is_told_in_a_line_and_by_the_status(tmp_path, capsys):
    plugin = tmp_path / "ahead.py"
    plugin.write_text(LOOKS_AHEAD)
    assert main(["audit", "--plugin", str(plugin), "--layouts", "ahead(5)+full", "--tokens", "31"]) == 1
    said, progress = capsys.readouterr()
    assert [line.rpartition(" (")[0] for line in progress.splitlines()] == ["ahead(5): fails", "full: holds"]
    row = next(line for line in said.splitlines() if line.startswith("ahead(5) "))
    assert row.split()[1] == "fails" and row.split()[-1] == "31"
    assert "ahead(5), causal fails: ahead(5) (auto, steps 31" in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--layouts", "spans(3|5|7|9)"], "heads"),
        (["--layouts", "swa(7)", "--tokens", "5"], "at least 8 tokens"),
        (["--layouts", "sva(7)"], "did you mean 'swa'"),
        (["--model", "tiny-mo", "--layouts", "swa(7)"], "tiny-mo"),
    ],
)
def test_bad_words_are_one_line(words, wrong, capsys):
    assert main(["audit", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and wrong in said
