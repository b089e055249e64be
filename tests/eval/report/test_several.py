"""Comparisons of several models and batches, side by side."""

from __future__ import annotations

import json

import pandas
import pytest

import eval
import refmodel
from eval.cli import main
from eval.cost.crossover import crossover_tokens
from eval.measure.timing import Budget
from eval.report.several import COLUMNS, each_of
from tests.compiling import unoptimised
from tests.eval.report.plain import says

pytestmark = pytest.mark.usefixtures("fast_compile")

MODELS, BATCHES, TOKENS = ("tiny-dense", "tiny-moe"), (1, 3), 17
ONCE = Budget(0, 1, 1, again_s=0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("several")
    asked = {"batches": BATCHES, "quality_tokens": 13, "budget": ONCE, "out": out}
    with unoptimised():
        return out, eval.compare_models(MODELS, ["swa(5)"], [TOKENS], **asked)


def test_each_model_and_batch_has_its_rows_and_its_folder(found):
    out, side_by_side = found
    asked = [(model, batch) for model in MODELS for batch in BATCHES]
    rows = [row for row in side_by_side.rows() if row["tokens"] == TOKENS]
    assert [(row["model"], row["batch"], row["layout"]) for row in rows] == [
        (*one, layout) for one in asked for layout in ("full", "swa(5)")
    ]
    for compared, (model, batch) in zip(side_by_side.each, asked, strict=True):
        kept = eval.Comparison.read(out / f"{model}-batch-{batch}")
        assert kept.rows() == compared.rows() and kept.config.name == model
    assert side_by_side.to_pandas().equals(pandas.DataFrame(side_by_side.rows()))


def test_the_table_has_a_line_for_each_layout_with_its_own_figures(found):
    _, side_by_side = found
    table = side_by_side.table()
    rows = {(row["model"], row["batch"], row["layout"]): row for row in side_by_side.rows() if row["tokens"] == TOKENS}
    assert len(table.rows) == len(rows) == 8 and len(table.header) == 5 + len(COLUMNS)
    for model, batch, layout, tokens, whole, per_s, speed_up, fewer, realised, change, kl, crossed in table.rows:
        row = rows[model, int(batch), layout]
        assert tokens == str(TOKENS) and says(per_s, row["prefill_tokens_per_s"])
        assert says(whole, *(row[f"prefill_ms{edge}"] for edge in ("", "_low", "_high")))
        assert says(speed_up, row["speed_up"]) and says(fewer, row["useful_reduction"])
        assert says(realised, row["realisation"]) and says(kl, row["read_kl_nats"])
        assert says(change, row["read_perplexity_change"])
        by_flops = crossover_tokens(refmodel.load(model, layout=layout).config)
        assert crossed == ("never" if by_flops is None else f"{by_flops:,}")
    html = side_by_side._repr_html_()
    assert html.count("<tr") == 9 and all(model in html for model in MODELS)
    assert repr(side_by_side).count("\n") == 3 and repr(side_by_side).count(", 3 prompts at once") == 2


def test_two_of_one_folder_are_refused():
    model = refmodel.load("tiny-dense")
    assert [folder for *_, folder in each_of(["run a/checkpoint-10", "../b.gguf", model], [1])] == [
        "run-a-checkpoint-10", "b.gguf", "tiny-dense",
    ]  # fmt: skip
    for models, batches, said in (
        (["tiny-dense", model], [1], "tiny-dense with batch 1 is there already"),
        (["a/b", "a-b"], [1], "a-b with batch 1"),
        ("tiny-dense", [1], "models is a list of one or more, got 'tiny-dense'"), ([], [1], "models is a list"),
        (["tiny-dense"], [0], "batch must be a whole number from 1"), (["tiny-dense"], [], "batches is a list"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            each_of(models, batches)


WORDS = ("--layouts", "swa(5)", "--tokens", str(TOKENS), "--quality-tokens", "0", "--samples", "1")


def test_the_command_measures_each_and_prints_them_side_by_side(tmp_path, capsys):
    words = ["compare", "--model", *MODELS, *WORDS, "--out", str(tmp_path), "--json"]
    assert main(words) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert [one["model"] for one in record["comparisons"]] == list(MODELS) and "Side by side" in said.err
    for model, one in zip(MODELS, record["comparisons"], strict=True):
        assert one["report"] == str(tmp_path / model / "report.md") and (tmp_path / model / "report.html").exists()
        assert {row["model"] for row in one["rows"]} == {model}
    kept = (tmp_path / "side_by_side.md").read_text()
    assert kept.startswith("## Side by side") and kept.count("\n| tiny-") == 4
    assert main([*words, "--resume"]) == 0
    assert capsys.readouterr().err.count("nothing is missing") == 2
    (tmp_path / MODELS[0] / "report.md").unlink()
    (tmp_path / "side_by_side.md").unlink()
    assert main(["report", str(tmp_path), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["comparisons"]
    assert again == sorted(record["comparisons"], key=lambda one: one["model"])
    assert (tmp_path / MODELS[0] / "report.md").exists()
    assert sorted((tmp_path / "side_by_side.md").read_text().splitlines()) == sorted(kept.splitlines())
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "elsewhere")]) == 0
    for name in (
        "side_by_side.md",
        *(f"{model}/{file}" for model in MODELS for file in ("report.md", "records.jsonl")),
    ):
        assert (tmp_path / "elsewhere" / name).exists(), name
    capsys.readouterr()
    assert main(["report", str(tmp_path), "--model", MODELS[0]]) == 2
    assert capsys.readouterr().err.strip().endswith("holds 2 comparisons; leave it out")


def test_what_does_not_fit_the_last_is_found_before_the_first_is_measured(tmp_path, capsys):
    words = ["compare", "--model", "tiny-dense", "gemma4-26b-a4b", *WORDS, "--out", str(tmp_path)]
    assert main(words) == 2
    said = capsys.readouterr()
    assert "head" in said.err and "linear full" not in said.out and not list(tmp_path.iterdir())
