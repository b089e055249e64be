"""What the pages in docs/ show is carried out."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import pytest

import attention.eviction.base
import attention.eviction.registry
from attention.layout import parse_variant
from eval.cli import main
from eval.cost.crossover import Linear, Pairs
from eval.testing.visibility import seen_keys
from tests.printed import ROOT, blocks, carry_out

PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_a_policy_is_what_the_page_says(monkeypatch, fast_compile) -> None:
    names = carry_out(blocks("docs/extending.md", "python")[0])
    known = MappingProxyType({**attention.eviction.registry.POLICIES, "vnorm": names["ValueNorm"]})
    for place in (attention.eviction.registry, attention.eviction.base):
        monkeypatch.setattr(place, "POLICIES", known)
    variant = parse_variant("evict(vnorm, budget=5, chunk=3, sinks=2)")
    seen = seen_keys(variant, 13, n_heads=2, n_kv_heads=1)[0]
    assert seen[12, :2].all() and not seen[12].all()  # its sinks, and not all
    assert seen.sum() < 13 * 14 / 2


def test_a_card_from_a_file(tmp_path: Path, capsys) -> None:
    (toml,) = blocks("docs/extending.md", "toml")
    card = tmp_path / "my-card.toml"
    card.write_text(toml)
    assert main(["flops", "--model", "tiny-dense", "--tokens", "9", "--no-compile", "--card", str(card)]) == 0
    assert "bound by" in capsys.readouterr().out
    card.write_text(toml.replace("191.4", "inf"))
    assert main(["flops", "--model", "tiny-dense", "--tokens", "9", "--no-compile", "--card", str(card)]) == 2
    assert "bf16 must be a finite number above 0" in capsys.readouterr().err


def test_a_model_of_ones_own(fast_compile) -> None:
    names = carry_out(blocks("docs/extending.md", "python")[1])
    assert [str(variant) for variant in names["config"].layout] == ["swa(8)", "full"]
    assert names["params"]["embed"]["embedding"].shape == (101, 64)


@pytest.mark.slow
def test_the_readme_from_python(capsys, monkeypatch) -> None:
    """Without pandas, which no plain installation has."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    (source,) = blocks("README.md", "python")
    carry_out(source)
    printed = capsys.readouterr().out
    assert "Paris" in printed.splitlines()[0]
    assert [line.split()[0] for line in printed.splitlines() if " 1024 " in line] == ["full", "swa(512)", "swa(508,"]


def test_the_concepts_name_every_convention() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text()
    assert [name for name in (*get_args(Linear), *get_args(Pairs)) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`((?:attention|refmodel|eval|tests|notebooks)/[\w./-]+)`", text)
    missing = [name for name in named if not (ROOT / name).exists() and name != "attention/eviction/vnorm.py"]
    assert not missing
    assert [link for link in re.findall(r"\]\(([^)#]+)", text) if not (page.parent / link).exists()] == []
