"""docs/api.md is what the code says."""

from __future__ import annotations

import importlib

import pytest

from attention.variants import VARIANTS
from eval.bench.api import MODULES, PAGE, ROOT, page, registries


def test_the_page_is_what_the_code_says():
    assert page() == (ROOT / PAGE).read_text(encoding="utf-8"), "run: python -m eval.bench.api"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry_and_a_sentence(module):
    text = page()
    for name in importlib.import_module(module).__all__:
        entry = text.partition(f"### {module}.{name}\n")[2].partition("\n###")[0]
        sentence = entry.split("```\n")[1].strip()
        assert sentence[0].isupper() and sentence.split("\n")[0].endswith("."), name


def test_registries_are_found():
    found = dict(registries())
    assert found["attention.variants.VARIANTS"] is VARIANTS
    assert "eval.bench.api" not in {name.rpartition(".")[0] for name in found}
