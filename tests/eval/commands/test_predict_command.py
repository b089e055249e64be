"""`prefillwall predict`: the same figures for people and as JSON, and what is not known is said."""

from __future__ import annotations

import json

import pytest

from eval.cli import main
from eval.commands import predict
from eval.cost.published import published

pytestmark = pytest.mark.usefixtures("fast_compile")
ASKED = ("predict", "--model", "ministral-3-8b", "--tokens", "16k", "40k", "--depth", "2k")


@pytest.fixture(autouse=True)
def few_rows(monkeypatch) -> None:
    rows = [row for row in published() if row.setup.backend == "ROCm" and row.model.startswith("ministral")]
    monkeypatch.setattr(predict, "published", lambda: rows)


def test_the_table_has_the_figures_of_the_record(capsys) -> None:
    assert main([*ASKED, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = record["predictions"]
    assert (record["model"], record["card"]) == ("ministral-3-8b", "r9700")
    assert [(one["tokens"], one["depth"]) for one in found] == [(16_384, 2048), (40_960, 2048)]
    assert main(list(ASKED)) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "prompts after 2,048 tokens of context" in printed
    for one in found:
        assert one["known"] and one["low_tokens_per_s"] < one["tokens_per_s"] < one["high_tokens_per_s"]
        rate = f"{one['tokens_per_s']:,.0f} {one['low_tokens_per_s']:,.0f} to {one['high_tokens_per_s']:,.0f}"
        assert f"{one['tokens']:,} {rate} {one['tokens'] / one['tokens_per_s']:,.1f} " in printed


def test_what_is_not_known_is_said(capsys, monkeypatch) -> None:
    monkeypatch.setattr("eval.cost.validation.KNOWN_WITHIN", 1.0)
    assert main(list(ASKED)) == 0
    assert capsys.readouterr().out.count("I don't know") == 2


def test_a_model_without_published_rates_is_refused(capsys) -> None:
    assert main(["predict", "--model", "qwen3-4b"]) == 2
    assert "no rate of a prompt of qwen3-4b is published" in capsys.readouterr().err
