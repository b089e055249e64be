"""`--weights` in the commands of arithmetic: what a coding changes there, and that it changes no count of FLOPs."""

from __future__ import annotations

import json

import pytest

from eval.cli import main
from eval.cost.atlas import roofline_crossover
from eval.cost.cards import card
from eval.cost.flops.formats import Storage, weight_bytes
from eval.cost.roofline import Assumptions, longest_fit_tokens
from refmodel.presets import preset

QWEN = preset("qwen3-30b-a3b")
LAYOUTS = ("full", "5*swa(1024)+full", "swa(1024)")
RATES = [("bf16", "bf16"), ("fp8", "bf16"), ("bf16", "fp8"), ("fp8", "fp8")]


def record_of(capsys, *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def crossover(capsys, *words: str) -> dict:
    return record_of(capsys, "crossover", "--layouts", *LAYOUTS, "--tokens", "1024", *words)


def test_a_card_adds_to_what_crossover_says_and_changes_none_of_it(capsys) -> None:
    plain, timed = crossover(capsys), crossover(capsys, "--card", "r9700", "--weights", "int4")
    added = timed.pop("card")
    assert "prediction" in timed["conventions"].pop("time") and added["kv"] == "bf16" and added["peaks_missing"] == []
    assert added["weights"]["format"] == "int4(32)" and added["weights"]["bytes"] == weight_bytes(QWEN, "int4")
    for one in timed["layouts"]:
        model = QWEN.with_layout(one["layout"])
        assert [(each["products"], each["attention_dtype"]) for each in one["time_crossovers"]] == RATES
        for each in one.pop("time_crossovers"):
            under = Assumptions(Storage("int4"), each["products"], each["attention_dtype"])
            assert each["tokens"] == roofline_crossover(model, card("r9700"), under)
        assert one.pop("longest_fit_tokens") == longest_fit_tokens(model, card("r9700"), Storage("int4"))
    assert timed == plain


def test_the_second_table_has_the_records_figures(capsys) -> None:
    words = ("--card", "r9700", "--weights", "int4", "--kv", "8bit", "--products", "int8", "--attention-dtype", "fp8")
    record = crossover(capsys, *words)
    assert record["layouts"][0]["time_crossovers"][0] | {"tokens": 0} == {
        "products": "int8", "attention_dtype": "fp8", "tokens": 0
    }  # fmt: skip
    assert main(["crossover", "--layouts", *LAYOUTS, "--tokens", "1024", *words]) == 0
    printed = capsys.readouterr().out
    of_time = printed[printed.index("N* by time (predicted)") :].splitlines()[1:]
    assert [word for word in of_time[0].split() if word != "products,"] == ["int8", *(one for one, _ in RATES)]
    for line, one in zip(of_time[2:5], record["layouts"], strict=True):
        figures = [each["tokens"] for each in one["time_crossovers"]]
        fits = one["longest_fit_tokens"]
        expected = [f"{n:,}" if n else "none" for n in figures] + ["any" if fits is None else f"{fits:,}"]
        assert line.split()[1:] == expected and line.startswith(one["layout_summary"])
    assert "weights int4(32): 4.505 bits each, 17.2 GB" in printed and "cache 8bit" in printed


def test_the_30b_fits_32_gb_in_4_bits_and_in_16_does_not(capsys) -> None:
    (full, *_), (packed, windows, bounded) = (
        [one["longest_fit_tokens"] for one in crossover(capsys, "--card", "r9700", "--weights", weights)["layouts"]]
        for weights in ("bf16", "int4")
    )
    assert full == 0 and packed == (34_208_743_424 - weight_bytes(QWEN, "int4")) // 98_304 == 173_096
    assert windows > 5 * packed and bounded is None


def test_a_card_that_lacks_rates_or_memory_says_so(tmp_path, capsys) -> None:
    (file := tmp_path / "mine.toml").write_text("bandwidth_bytes_per_s = 1e12\n[peak_tflops]\nbf16 = 100\n")
    record = crossover(capsys, "--card", str(file))
    assert record["card"]["peaks_missing"] == ["fp8"]
    assert [one["longest_fit_tokens"] for one in record["layouts"]] == ["unknown"] * 3
    assert [len(one["time_crossovers"]) for one in record["layouts"]] == [1] * 3
    assert main(["crossover", "--layouts", "full", "--card", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "no column in fp8: mine has no such peak here." in printed and "unknown" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--card", "r9700", "--weights", "int4(128)"), "15.8 GB (4.13 bits each), cache of 1,025 tokens 101 MB; "
         "r9700 holds both up to 187,648 tokens\n"),
        (("--card", "r9700", "--weights", "int4", "--layout", "swa(1024)"), "; r9700 holds both at any length\n"),
        (("--card", "r9700"), "61.1 GB (16 bits each), cache of 1,025 tokens 101 MB; too large for r9700\n"),
        ((), "memory: weights 61.1 GB (16 bits each), cache of 1,025 tokens 101 MB\n"),
        (("--card", "strix-halo", "--kv", "4bit"), "cache of 1,025 tokens 25.2 MB\n"),
    ],
)  # fmt: skip
def test_flops_says_what_is_stored_and_what_fits(words: tuple[str, ...], said: str, capsys) -> None:
    assert main(["flops", "--tokens", "1", "--start", "1024", "--no-compile", *words]) == 0
    assert said in capsys.readouterr().out


def test_a_coding_moves_fewer_bytes_of_the_same_flops(capsys) -> None:
    step = ("flops", "--tokens", "1", "--start", "1024", "--no-compile", "--card", "r9700", "--weights")
    bf16, int4 = (record_of(capsys, *step, weights) for weights in ("bf16", "int4"))
    assert int4["weights"] == int4["memory"]["weights"]["format"] == "int4(32)"
    assert int4["flops"] == bf16["flops"] and int4["memory"]["cache_bytes"] == bf16["memory"]["cache_bytes"]
    for name in ("experts", "attention_projections", "head"):
        assert 32 * int4["bytes"][name] == 9 * bf16["bytes"][name]
        assert int4["floor_ms"][name] == pytest.approx(bf16["floor_ms"][name] * 9 / 32)
    assert int4["bytes"]["router"] == bf16["bytes"]["router"]


def test_the_atlas_takes_codings(capsys) -> None:
    words = ("atlas", "--models", "qwen3-30b-a3b", "gemma3-27b", "--weights")
    nominal, coded = (record_of(capsys, *words, weights)["models"] for weights in ("4.5bit", "int4"))
    for name, one, other in zip(("qwen3-30b-a3b", "gemma3-27b"), nominal, coded, strict=True):
        assert other["weights"]["bytes"] == weight_bytes(preset(name), "int4") > one["weights"]["bytes"]
        assert one["crossover_tokens"] == other["crossover_tokens"]
        assert one["longest_fit_tokens"] > other["longest_fit_tokens"] > 0
