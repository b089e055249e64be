"""What README.md and the pages in docs/ show is carried out, and what they name exists."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from pathlib import Path
from typing import get_args

import chex
import pytest

from attention.backends.registry import BACKENDS, impl_names
from attention.block_rules import BLOCK_RULES
from attention.cost import Heads
from attention.eviction.registry import POLICIES
from attention.layout import parse_variant
from attention.routers import ROUTERS
from attention.variants import VARIANTS
from eval.cli import build_parser, main
from eval.cost.crossover import Linear, Pairs
from eval.report.metrics import METRICS
from eval.testing import assert_flops_agree, assert_matches_dense
from eval.testing.visibility import seen_keys
from refmodel.digest import params_digest
from tests.eval.report.synthetic_records import compared, synthetic_records
from tests.printed import ROOT, blocks, carry_out

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_a_policy_is_what_the_page_says(fast_compile) -> None:
    (text,) = (text for text in blocks("docs/extending.md", "python") if "vnorm" in text)
    with POLICIES.temporarily():
        carry_out(text)
        variant = parse_variant("evict(vnorm, budget=5, chunk=3, sinks=2)")
    seen = seen_keys(variant, 13, n_heads=2, n_kv_heads=1)[0]
    assert seen[12, :2].all() and not seen[12].all()  # its sinks, and not all
    assert seen.sum() < 13 * 14 / 2


def test_scores_of_ones_own(fast_compile) -> None:
    wedge, capped = (text for text in blocks("docs/extending.md", "python") if "(Variant)" in text)
    with VARIANTS.temporarily():
        carry_out(f"{wedge}\n\n{capped}")
        assert_matches_dense(parse_variant("capped(5, 2)"))
        assert str(parse_variant("wedge(5)")) == "wedge(5)"


def test_a_backend_of_ones_own(fast_compile) -> None:
    (text,) = (text for text in blocks("docs/extending.md", "python") if "BACKENDS.register(" in text)
    with BACKENDS.temporarily():
        names = carry_out(text)
        assert "plain-jax" in impl_names()
    assert names["found"].out_btnh.shape == (1, 5, 2, 8)


def test_the_column_is_one_entry() -> None:
    (text,) = (text for text in blocks("docs/extending.md", "python") if "METRICS.register(" in text)
    found = compared(synthetic_records())
    with METRICS.temporarily():
        carry_out(text)
        assert found.rows()[0]["us_per_token"] == pytest.approx(1e6 / found.rows()[0]["prefill_tokens_per_s"])
    assert "us_per_token" not in found.rows()[0]


def test_a_router_is_what_the_page_says(fast_compile) -> None:
    (text,) = (text for text in blocks("docs/extending.md", "python") if "parity" in text)
    with ROUTERS.temporarily():
        carry_out(text)
        variant = parse_variant("routed(1|full, sinks=0, router=parity)")
    assert seen_keys(variant, 5)[0].sum(-1).tolist() == [1, 2, 1, 4, 1]


def test_a_block_rule_is_what_the_page_says(fast_compile) -> None:
    (text,) = (text for text in blocks("docs/extending.md", "python") if "BlockRule" in text)
    with BLOCK_RULES.temporarily():
        carry_out(text)
        variant = parse_variant("blocks(newest, block=4, keys=2, topk=3)")
    assert_flops_agree(variant, tokens=29)
    assert variant.useful(Heads(1, 1, 6), 1, start=17).selection_flops == 2 * 6 * 2 * 4


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
    (text,) = (text for text in blocks("docs/extending.md", "python") if "random_params(config" in text)
    names = carry_out(text)
    assert [str(variant) for variant in names["config"].layout] == ["swa(8)", "full"]
    assert names["params"]["embed"]["embedding"].shape == (101, 64)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_training(number: int, fast_compile, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = carry_out(blocks("docs/training.md", "python")[number])
    trained = names["state"].params if "state" in names else names["gradients"]
    chex.assert_tree_all_finite(trained)
    chex.assert_trees_all_equal_shapes(trained, names["model"].params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "layouts"),
    [("README.md", ["full", "swa(508,"]), ("docs/python.md", ["full", "swa(512)", "swa(508,"])],
)
def test_from_python(page: str, layouts: list[str], tmp_path: Path, capsys, monkeypatch) -> None:
    """Without pandas, which no plain installation has."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    first, *others = blocks(page, "python")
    names = carry_out(first)
    printed = capsys.readouterr().out
    assert "Paris" in printed.splitlines()[0]
    assert [line.split()[0] for line in printed.splitlines() if " 1024 " in line] == layouts
    monkeypatch.chdir(tmp_path)
    for source in others:
        carry_out(source, names)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.png"] * ("savefig" in "".join(others))
    assert ("token 8: " in capsys.readouterr().out) == ("one_token" in "".join(others))


def test_samples_are_drawn_as_the_page_says(capsys) -> None:
    names = carry_out("\n".join(blocks("docs/retrieval.md", "python")))
    assert capsys.readouterr().out.endswith(" 0.75\n") and len(names["drawn"]) == 5


@pytest.mark.slow
def test_a_model_is_saved_as_the_page_says(tmp_path, monkeypatch, fast_compile) -> None:
    monkeypatch.chdir(tmp_path)
    names = carry_out("\n".join(blocks("docs/checkpoints.md", "python")))
    assert params_digest(names["params"]) == params_digest(names["model"].params)


def test_the_readme_is_short_and_begins_with_a_picture() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180
    assert any(line.startswith("![") for line in lines[:12])


@pytest.mark.parametrize("thing", [*VARIANTS.values(), *POLICIES.values()], ids=lambda thing: thing.name)
def test_the_readme_names_the_papers_of(thing) -> None:
    """Every number of a paper that stands in its docstring, in the row that has its name."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{thing.name}[`(].*$", readme, re.MULTILINE)
    said = f"{inspect.getdoc(inspect.getmodule(thing))} {vars(thing).get('__doc__')}"
    cited = re.findall(r"\b\d{4}\.\d{5}\b", said)
    assert [paper for paper in cited if f"[{paper}](https://arxiv.org/abs/{paper})" not in row] == []
    assert cited or thing.name in {"random", "evict", "evict_after", "qsa"}


def test_figures_in_the_readmes_sentences_are_those_of_the_results() -> None:
    readme, results = ((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/results.md"))
    found = readme.partition("## What was found")[2].partition("<!-- end of figures -->")[2].partition("All tables")[0]
    figures = re.findall(r"\+?\d+\.\d+ %|\d+,\d{3}", found)
    assert len(figures) > 5 and [figure for figure in figures if figure not in results] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_page_shows_parse(page: Path) -> None:
    lines = "\n".join(blocks(str(page.relative_to(ROOT)), "sh")).splitlines()
    shown = [shlex.split(line, comments=True) for line in lines if "prefillwall " in line.partition("#")[0]]
    for _, *words in shown:
        unknown = build_parser().parse_known_args(words)[1]
        assert not unknown, words


def test_the_concepts_name_every_convention() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text()
    assert [name for name in (*get_args(Linear), *get_args(Pairs)) if f"`{name}`" not in text] == []


def test_what_is_to_be_found_in_a_file_is_there() -> None:
    """Each name of code under "Find a thing" stands in a file that the same paragraph names."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Find a thing")[2].partition("\n## ")[0]
    for paragraph in section.split("\n* ")[1:]:
        said = re.findall(r"`([^`]+)`", paragraph)
        files = [ROOT / one for one in said if one.endswith(".py")]
        text = "\n".join(file.read_text() for file in files)
        names = [name for one in said if re.fullmatch(r"\w+(\(\w+=\))?", one) for name in re.findall(r"\w+", one)]
        assert [name for name in names if not re.search(rf"\b{name}\b", text)] == [], paragraph


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`((?:attention|refmodel|eval|tests|notebooks)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("https://")]
    assert [link for link in links if not (page.parent / link).exists()] == []
