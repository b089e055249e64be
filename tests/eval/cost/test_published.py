"""Rows of tables of rates, and what they say of how they were run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from eval.cost.cards import CARDS
from eval.cost.published import COLUMNS, published
from eval.cost.published_models import model_of
from eval.cost.published_setup import DEFAULT_MICRO_BATCH, LONG_MICRO_BATCH, WHOLE_PROMPT, bits_of, setup_of
from tests.printed import blocks

RATES = ("fast", "nan", "inf", "0", "-1", "1e400", "1e-320")


def row(**changed: str) -> dict[str, str]:
    base = {"source": "https://a.b/c", "engine": "llama.cpp", "backend": "ROCm", "device": "R9700", "notes": ""}
    return base | changed


def test_published_rows_have_sources_and_shapes() -> None:
    rows = published()
    assert len(rows) > 950 and all(row.source and row.tokens_per_s > 0 for row in rows)
    assert min(row.tokens for row in rows if not row.decode) >= 256
    assert {row.has_windows for row in rows} == {True, False} and {row.decode for row in rows} == {True, False}
    assert {row.card.name for row in rows} == {"r9700", "rx-9070-xt"}


def test_a_log_of_the_toolboxes_says_how_it_ran() -> None:
    name = "a/b@1:results/m-Q4__rocm-7.9-rocwmma__hblt0__fa1__longctx16384__dual.log"
    found = setup_of(row(source=name, device="2x R9700", notes="x; n_ubatch=1024; build 2aa4 (7423); +-1.0"), 16_384)
    assert (found.stack, found.attention, found.blas, found.build) == ("rocm-7.9", "rocwmma", "plain", "llama.cpp 7423")
    assert (found.micro_batch, found.cards) == (1024, 2)
    radv = setup_of(row(source="a/b@1:r/m__vulkan_radv__fa1__single.log", backend="Vulkan"), 0)
    assert (radv.backend, radv.stack, radv.attention, radv.cards) == ("Vulkan", "radv", "plain", 1)


@pytest.mark.parametrize("source", ["a@1:r/m.log", "bench__mine.log", "a@1:r/bench__mine.json", "https://a.b/c__d.log"])
def test_other_names_say_nothing_of_the_run(source: str) -> None:
    found = setup_of(row(source=source, backend="HIP"), 16_384)
    assert (found.backend, found.stack, found.blas, found.micro_batch) == ("ROCm", "rocm-", "hipblaslt", 512)


@pytest.mark.parametrize("backend", ["CUDA", "CPU", "Metal", ""])
def test_a_backend_that_nothing_is_known_of_is_named(backend: str) -> None:
    with pytest.raises(ValueError, match=f"no backend '{backend}': rates are predicted of ROCm .HIP. and Vulkan"):
        setup_of(row(backend=backend), 0)


def test_a_device_that_is_told_is_no_default_card(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    other = CARDS["w7900"]
    cases = [("", None, "r9700"), ("", other, "w7900"), ("RX 9070 XT", None, "rx-9070-xt"),
             ("RX 9070 XT", other, "rx-9070-xt"), ("Arc B580", other, "w7900")]  # fmt: skip
    for device, given, name in cases:
        path.write_text(f"{','.join(COLUMNS)}\na:b/x,e,Vulkan,{device},Llama 8B,Q4,pp2048,pp,9.5,\n")
        assert [one.card.name for one in published(path, given)] == [name]
    with pytest.raises(ValueError, match=r"mine\.csv: no card of the device 'Arc B580' is known; say which"):
        published(path)


@pytest.mark.parametrize(
    ("changed", "depth", "micro_batch"),
    [
        ({}, 0, DEFAULT_MICRO_BATCH),
        ({"notes": "Vulkan, -b 4096 -ub 2048; cold"}, 0, 2048),
        ({"notes": "ub=1024; master"}, 0, 1024),
        ({"notes": "RADV ub2048; x"}, 0, 2048),
        ({"source": "a@1:r/m__rocm7__fa1__longctx16384__single.log"}, 16_384, LONG_MICRO_BATCH),
        ({"source": "a@1:r/m__vulkan_radv__fa1__longctx16384__single.log", "backend": "Vulkan"}, 16_384, 512),
        ({"engine": "VulkanForge v0.7.0"}, 0, WHOLE_PROMPT),
    ],
)
def test_micro_batches(changed: dict[str, str], depth: int, micro_batch: int) -> None:
    assert setup_of(row(**changed), depth).micro_batch == micro_batch


def test_every_noted_long_run_on_rocm_had_the_micro_batch_that_others_are_taken_to_have() -> None:
    noted = [r for r in published() if r.depth and not r.decode and r.setup.backend == "ROCm" and "__" in r.source]
    assert len(noted) > 200 and {r.setup.micro_batch for r in noted} == {LONG_MICRO_BATCH}


@pytest.mark.parametrize(
    ("published_name", "model"),
    [
        ("Qwen3-Coder-30B-A3B-Instruct", "qwen3-30b-a3b"), ("Qwen3-30B-A3B-Instruct-2507-FP8", "qwen3-30b-a3b"),
        ("Qwen3.8-35B-A3B (hybrid GDN + full attn MoE)", "qwen3.5-35b-a3b"), ("Llama 8B", "llama3-8b"),
        ("Ministral-3-14B-Instruct-2512", "ministral-3-14b"), ("Nemotron-3-Nano-30B-A3B", "nemotron-3-nano-30b-a3b"),
        ("gpt-oss-20b-F32", "gpt-oss-20b"), ("gemma-4-26b-a4b-it-q4k-m", "gemma4-26b-a4b"), ("Qwen3-14B", "qwen3-14b"),
        ("Mistral-7B-v0.3", "mistral-7b-v0.3"), ("qwen36-35b-a3b-q4k-xl", "qwen3.5-35b-a3b"), ("GLM-4.5-Air", None),
    ],
)  # fmt: skip
def test_published_names(published_name: str, model: str | None) -> None:
    assert model_of(published_name) == model


def test_bits() -> None:
    told = [bits_of(quant, "m") for quant in ("BF16", "UD-Q8_K_XL", "Q4_K_M", "mxfp4", "Q3_K_S", "unheard of")]
    assert told == [16.0, 9.0, 4.85, 4.7, 3.8, 4.85] and bits_of("", "gpt-oss-20b-F32") == 16.0


def test_a_table_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [
                COLUMNS,
                ["a:b/x.log", "e", "ROCm", "", "Llama 8B", "Q4", "pp2048@d4096", "pp", "9.5", ""],
                ["a:b/x.log", "e", "ROCm", "", "unheard of", "Q4", "pp2048", "pp", "9.5", ""],
                ["a:b/x.log", "e", "ROCm", "", "Llama 8B", "Q4", "n=128;depth=0", "tg128", "9.5", ""],
                ["a:b/x.log", "e", "ROCm", "", "Llama 8B", "Q4", "pp128", "pp128", "9.5", ""],
            ]
        )
    prompt, decode = published(path)
    assert (prompt.tokens, prompt.depth, prompt.tokens_per_s, prompt.ms) == (2048, 4096, 9.5, 1e3 * 2048 / 9.5)
    assert (decode.decode, decode.kind, prompt.kind, prompt.family) == (True, "decode", "at depth", "ROCm, at depth")
    path.write_text("source,engine\na,b\n")
    with pytest.raises(ValueError, match="column backend is missing"):
        published(path)
    with pytest.raises(ValueError, match="cannot read the published rates"):
        published(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column backend is missing"),
        (b"\xff\x00", "cannot read the published rates"),
        (",".join(COLUMNS).encode() + b"\na:b/x.log\n", "no row with a rate is a prompt"),
        *(
            (f"{','.join(COLUMNS)}\na:b/x.log,e,ROCm,,Llama 8B,Q4,{length},pp,{rate},{notes}\n".encode(), said)
            for length, rate, notes, said in (
                *(("pp2048", rate, "", "tokens_per_s must be a number from 1e-06 to 1e.12") for rate in RATES),
                ("pp0", "9", "", "a length must be a whole number from 1 to 4,194,304, got '0'"),
                (f"pp{'9' * 5000}", "9", "", "prompt_or_depth must be a line of at most"),
                (f"pp2048@d{2**23}", "9", "", "a depth must be a whole number from 0 to 4,194,304, got '8388608'"),
                ("pp2048", "9", "ub=0", "the micro-batch must be a whole number from 1 to 4,194,304, got '0'"),
                ("pp65536", "9", "ub=1", "65,536 tokens in micro-batches of 1 is more than 8,192 passes"),
                ("pp2048", "9", f"+-{'9' * 400}", "the deviation .- must be a number from 0 to 1e.12"),
            )
        ),
    ],
)
def test_malformed_tables_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        published(path)


def test_the_table_that_the_page_shows_is_read(tmp_path: Path) -> None:
    (table,) = blocks("docs/command_line.md", "csv")
    (tmp_path / "mine.csv").write_text(table)
    found = published(tmp_path / "mine.csv")
    assert [(one.model, one.tokens, one.depth, one.decode) for one in found] == [
        ("qwen3-30b-a3b", 512, 0, False), ("qwen3-30b-a3b", 2048, 16_384, False), ("qwen3-30b-a3b", 128, 4096, True),
    ]  # fmt: skip
    assert [one.tokens_per_s for one in found] == [2400, 1100, 95]
