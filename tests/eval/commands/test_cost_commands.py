"""The cost commands: tables for people and JSON of the same figures, one spelling of models and lengths."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from attention.backends.dense import Dense
from attention.backends.registry import BACKENDS
from attention.block_rules import BLOCK_RULES
from attention.eviction.registry import POLICIES
from attention.routers import ROUTERS
from attention.variants import VARIANTS
from eval.cli import main
from eval.commands.flops import agreement
from refmodel.presets import preset

pytestmark = pytest.mark.usefixtures("fast_compile")

SMALL = {
    "flops": ("--model", "tiny-moe", "--layout", "swa(5)+full", "--tokens", "300", "--card", "r9700"),
    "crossover": (),
    "cards": ("--card", "r9700"),
    "atlas": ("--models", "qwen3-0.6b", "gpt-oss-20b", "--figure", "atlas.html"),
    "models": (),
    "post": ("--tokens", "1024", "--layouts", "full"),
    "validate": ("--leave-out", "long rows of a model"),
    "variants": ("full", "swa(3)", "--draw", "5", "--tokens", "1024"),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch) -> None:
    """Figures land in out/ of the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", SMALL)
def test_json_and_tables_have_the_same_figures(command: str, capsys) -> None:
    assert main([command, *SMALL[command], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert main([command, *SMALL[command]]) == 0
    table = capsys.readouterr().out
    wanted = {
        "flops": lambda: [f"{x:,}" for count in record["flops"].values() for x in count.values()],
        "crossover": lambda: ["13,888", "73,159", "none", "12.9%", *(one["layout"] for one in record["layouts"])],
        "cards": lambda: [f"{one['decode_crossover_tokens']:,}" for one in record["bounds"]],
        "atlas": lambda: [
            "atlas.html",
            *(f"{one[n]:,}" for one in record["models"] for n in ("crossover_tokens", "longest_fit_tokens") if one[n]),
        ],
        "models": lambda: [f"{one['params']:,}" for one in record["models"]],
        "post": lambda: [*record["rounding"], "16,785", "post.png"],
        "validate": lambda: [one["family"] for one in record["summary"]],
        "variants": lambda: [
            "███▄",
            *(f"{100 * one['costs'][0]['share_of_full']:.1f} %" for one in record["variants"]),
        ],
    }[command]()
    assert [word for word in wanted if word not in table] == []


def test_the_atlas_says_in_words_what_its_numbers_say(capsys) -> None:
    names = ["qwen3-0.6b", "qwen3-30b-a3b", "gpt-oss-20b", "gemma3-4b", "qwen3.5-35b-a3b"]
    words = ["atlas", "--models", *names, "--base", "qwen3-30b-a3b", "--card", "r9700"]
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert main(words) == 0
    rows = {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert (record["base"], record["card"]) == ("qwen3-30b-a3b", "r9700")
    said = set()
    for one in record["models"]:
        at = one["cheaper_than_base_at"]
        cheaper = "never" if not at else "always" if at == [1] else f"{at[-1]:,}"
        said.add(cheaper if cheaper.isalpha() else "from")
        place = preset(one["model"])
        assert one["runs"] is not bool(place.cannot_run)
        crossed, by_roofline = (f"{one[name]:,}" for name in ("crossover_tokens", "roofline_crossover_tokens"))
        fits = f"{one['longest_fit_tokens']:,}" if one["longest_fit_tokens"] else "too large"
        cells = (
            f"{one['linear_flops_per_token'] / 1e9:.3f}", crossed, f"{one['limiting_share']:.1%}", by_roofline, cheaper,
            f"{one['cache_bytes'] / 1e9:.2f} GB", fits,
        )  # fmt: skip
        assert re.search(".*".join(map(re.escape, cells)), rows[one["model"]]), (cells, rows[one["model"]])
    assert {"never", "always"} <= said, said


def test_variants_lists_everything_that_a_layout_may_name_with_its_papers(capsys) -> None:
    assert main(["variants", "--draw", "0", "--tokens", "64"]) == 0
    printed = capsys.readouterr().out
    assert main(["variants", "--draw", "0", "--tokens", "64", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)["names"]
    registries = {"variants": VARIANTS, "policies": POLICIES, "routers": ROUTERS, "block rules": BLOCK_RULES}
    for what, registry in registries.items():
        assert [one["name"] for one in names[what]] == list(registry)
        for one in names[what]:
            assert one["signature"] in printed and one["description"][:40] in printed
            assert all(paper in printed for paper in one["papers"])
    by_name = {one["name"]: one for what in registries for one in names[what]}
    assert by_name["swa"]["papers"] == ["2310.06825", "2309.17453"] and by_name["snapkv"]["papers"] == ["2404.14469"]
    assert by_name["snapkv"]["description"] == "What the newest queries looked at, smoothed over neighbours"
    assert by_name["keynorm"]["signature"] == "keynorm(threshold)" and by_name["evict"]["papers"] == []


def test_variants_say_of_a_state_what_it_costs_and_holds(capsys) -> None:
    words = [
        "variants",
        "delta(key_heads=2, value_heads=6, key_dim=8, value_dim=12, conv=3)",
        "--tokens",
        "31",
        "--draw",
        "0",
    ]
    assert main([*words, "--json"]) == 0
    (cost,) = json.loads(capsys.readouterr().out)["variants"][0]["costs"]
    channels = 2 * 2 * 8 + 6 * 12
    assert cost["flops"] == 31 * (6 * 8 * 12 * 6 + 2 * 3 * channels)
    assert cost["state_values"] == 6 * 8 * 12 + 2 * channels
    assert main(words) == 0
    assert f"a state of {cost['state_values']}" in " ".join(capsys.readouterr().out.split())


def test_flops_prints_three_agreeing_counts(capsys) -> None:
    assert main(["flops", *SMALL["flops"], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["flops"]) == ["useful", "executed", "traced", "compiled"]
    assert record["flops"]["executed"] == record["flops"]["traced"] and record["faults"] == []
    assert record["layout"] == "swa(5)+full" and record["bytes"]["attention"] and record["floor_ms"]["head"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*SMALL["flops"], "--no-compile"), "closed form = traced; the compiler was left out"),
        (SMALL["flops"], "closed form = traced = compiled"),
    ],
)
def test_flops_says_which_counts_agree(words: tuple[str, ...], said: str, capsys) -> None:
    assert main(["flops", *words]) == 0
    _, *heads = capsys.readouterr().out.splitlines()
    assert said in heads and " (closed form) " in heads[1] and " (traced) " in heads[1]
    assert heads[0].split() == ["executed"] * (2 + said.endswith("compiled"))


@pytest.mark.parametrize(
    ("compiled", "merged", "said"),
    [
        ({"head": 30, "": 70}, 0, "= compiled in all; the compiler moved products between components"),
        ({"head": 99}, 0, "compiled: -1 FLOPs (-1.00%): 1 rewritten"),
        ({"head": 83}, 11, "compiled: -17 FLOPs (-17.00%): 11 merged and 6 rewritten"),
    ],
)
def test_flops_says_why_the_compiler_counts_otherwise(compiled: dict[str, int], merged: int, said: str) -> None:
    counts = {"useful": {"head": 7}, "executed": {"head": 100}, "traced": {"head": 100}, "compiled": compiled}
    less = {"head": 100 - compiled["head"]}
    assert said in agreement({"flops": counts, "faults": [], "rewritten": less, "merged": merged})


def test_flops_exits_with_one_where_counts_disagree(monkeypatch, capsys) -> None:
    from eval.cost.flops import cross_check

    monkeypatch.setattr(cross_check, "steps_flops", lambda *_, **__: {"head": 1})
    assert main(["flops", "--model", "tiny-dense", "--tokens", "9", "--no-compile"]) == 1
    printed = capsys.readouterr().out
    assert "do NOT agree" in printed and "counts disagree" in printed


@pytest.mark.parametrize("words", [
    ("--tokens", "90", "--chunk", "16"), ("--tokens", "9", "--model", "nemotron-3-nano-30b-a3b"),
    ("--tokens", "2000000", "--layout", "routed(9|full,router=random)"),
    ("--tokens", "90000", "--layout", "evict(knorm,budget=64,chunk=64)"),
])  # fmt: skip
def test_closed_form_alone_says_so(words: tuple[str, ...], capsys) -> None:
    assert main(["flops", "--no-compile", *words]) == 0
    printed = capsys.readouterr().out
    assert "closed form only" in printed and "= traced" not in printed


def test_post_draws_its_figure(tmp_path: Path, capsys) -> None:
    assert main(["post", "--figure", str(tmp_path / "deep" / "squares.svg"), "--layouts", "full", "swa(64)"]) == 0
    assert (tmp_path / "deep" / "squares.svg").read_text().startswith("<?xml")


def test_more_tokens_than_can_be_counted_are_refused(capsys) -> None:
    assert main(["flops", "--model", "gemma3-1b", "--tokens", "16777210", "--start", "7"]) == 2
    assert "at most 16,777,216 tokens in all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("flops", ("--no-compile",)),
        ("crossover", ("--layouts", "own")),
        ("cards", ("--card", "r9700")),
        ("variants", ("swa(3)", "--draw", "0")),
    ],
)
@pytest.mark.parametrize("name", ["gemma3-27b", "qwen3.5-35b-a3b", "smollm2-135m", "folder"])
def test_every_cost_command_takes_every_way_to_name_a_model(
    command: str, words: tuple[str, ...], name: str, tmp_path: Path, capsys
) -> None:
    folder = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 3, "hidden_size": 48,
              "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 257,
              "intermediate_size": 80, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": True,
              "max_position_embeddings": 4096, "hidden_act": "silu"}  # fmt: skip
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text(json.dumps(folder))
    assert main([command, *words, "--model", name, *(("--tokens", "65_536") * (command != "cards")), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert name in (record.get("model"), record["conventions"].get("model"), "folder")


def test_variants_counts_with_the_heads_of_a_shape_that_cannot_run(capsys) -> None:
    name = "nemotron-3-nano-30b-a3b"
    assert preset(name).cannot_run
    assert main(["variants", "swa(7)", "--draw", "0", "--tokens", "4096", "--model", name, "--json"]) == 0
    pairs = json.loads(capsys.readouterr().out)["variants"][0]["costs"][0]["pairs"]
    n_heads = preset(name).n_heads
    assert pairs == n_heads * sum(min(position + 1, 7) for position in range(4096))


def test_flops_counts_by_a_backend_from_outside_and_calls_a_card_by_its_name(tmp_path: Path, capsys) -> None:
    class Twice(Dense):
        name = "twice"
        place = None

        def executed_pairs(self, *call: Any) -> int:
            return 2 * super().executed_pairs(*call)

    (tmp_path / "mine.toml").write_text('name = "my-card"\nbandwidth_bytes_per_s = 1e12\n[peak_tflops]\nbf16 = 100\n')
    words = ["flops", "--model", "tiny-dense", "--layout", "full", "--tokens", "31", "--no-compile", "--json"]
    found = []
    with BACKENDS.temporarily(Twice()):
        for impl in ("dense", "twice"):
            main([*words, "--impl", impl, "--card", str(tmp_path / "mine.toml")])
            found.append(json.loads(capsys.readouterr().out))
    dense, twice = (one["flops"]["executed"]["attention"] for one in found)
    assert twice == 2 * dense and found[0]["card"] == "my-card"
