"""Fixtures of the tests of the command line and of reports."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import eval.commands.generate
import eval.commands.retrieve
from eval.report.report_files import write_report
from refmodel.source import Model, open_model
from tests.eval.report.synthetic_records import compared


@pytest.fixture
def with_words(monkeypatch) -> Model:
    """The model that `generate` and `retrieve` open: random weights, and a tokenizer of made-up words."""
    words = {"</s>": 0} | {f"word{i}": i for i in range(1, 257)}
    model = open_model("tiny-dense")
    tokenizer = Tokenizer(WordLevel(words, unk_token="word1"))
    model = Model(model.config, model.params, tokenizer, model.weights, end_tokens=(0,))
    model.tokenizer.pre_tokenizer = Whitespace()
    found = SimpleNamespace(
        described=model.config, tokenizer=lambda: model.tokenizer, weights=model.weights, chat_template=lambda: None
    )
    for command in (eval.commands.generate, eval.commands.retrieve):
        monkeypatch.setattr(command, "find_checkpoint", lambda *_: found)
        monkeypatch.setattr(command, "read_model", lambda *_: model)
    return model


@pytest.fixture
def written(tmp_path):
    def write(records, *, mixed=False):
        path = write_report(tmp_path / "out", compared(records, mixed=mixed), command="prefillwall compare --seed 7")
        return path.read_text()

    return write
