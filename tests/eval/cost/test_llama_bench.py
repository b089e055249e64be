"""llama-bench's own outputs: CSV, JSON, JSON lines and Markdown hold the same rates, whatever marks their beginning."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import random
import re
from pathlib import Path

import pytest

from eval.cli import main
from eval.cost.efficiency.work import work_of
from eval.cost.published import Measured, published
from tests.foreign_values import as_json, mutated, mutated_text
from tests.held import held, one_line
from tests.share import Share

SHARED = {
    "build_commit": "2aa45ef9e", "build_number": 7423, "cpu_info": "AMD EPYC", "gpu_info": "AMD Radeon AI PRO R9700",
    "backends": "ROCm", "model_filename": "/models/Qwen3-30B-A3B-Q4_K_M-00001-of-00002.gguf",
    "model_type": "qwen3moe 30B.A3B Q4_K - Medium", "model_size": 18_550_000_000, "model_n_params": 30_532_122_624,
    "n_batch": 2048, "n_ubatch": 1024, "flash_attn": True,
}  # fmt: skip
TESTS = [(2048, 0, 0, 2843.52, 16.68), (2048, 0, 16_384, 964.08, 3.5), (0, 128, 4096, 71.25, 0.11)]
RECORDS = [
    SHARED | {"n_prompt": prompt, "n_gen": new, "n_depth": depth, "avg_ts": rate, "stddev_ts": spread}
    for prompt, new, depth, rate, spread in [*TESTS, (512, 64, 0, 99.0, 1.0)]  # the last: of both, so left out
]
MARKDOWN = """\
ggml_cuda_init: found 1 ROCm devices:
  Device 0: AMD Radeon AI PRO R9700, gfx1201 (0x1201), VMM: no, Wave Size: 32
| model                          |       size |     params | backend    | ngl | n_ubatch |            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | --: | -------: | --------------: | -------------------: |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | ROCm       |  99 |     1024 |          pp2048 |     2843.52 ± 16.68 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | ROCm       |  99 |     1024 | pp2048 @ d16384 |       964.08 ± 3.50 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | ROCm       |  99 |     1024 |   tg128 @ d4096 |        71.25 ± 0.11 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | ROCm       |  99 |     1024 |      pp512+tg64 |        99.00 ± 1.00 |

build: 2aa45ef9e (7423)
"""  # noqa: E501 - as it prints them


def as_csv(records: list[dict[str, object]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


OUTPUTS = {
    "csv": as_csv(RECORDS),
    "json": json.dumps(RECORDS, indent=2),
    "jsonl": "\n".join(map(json.dumps, RECORDS)) + "\n",
    "md": MARKDOWN,
}


def facts(one: Measured) -> tuple[object, ...]:
    setup = one.setup
    return (
        one.model, one.tokens, one.depth, one.decode, one.tokens_per_s, one.bits, round(one.repeat_error, 5),
        one.card.name, setup.backend, setup.build, setup.micro_batch,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_all_outputs_hold_the_same_rates(output: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{output}"
    path.write_bytes(OUTPUTS[output].encode(encoding))
    assert path.read_bytes().startswith((codecs.BOM_UTF8, codecs.BOM_UTF16)) == (encoding != "utf-8")
    assert [facts(one) for one in published(path)] == [
        ("qwen3-30b-a3b", prompt or new, depth, bool(new), rate, 4.85, round(spread / rate, 5), "r9700", "ROCm",
         "llama.cpp 7423", 1024)
        for prompt, new, depth, rate, spread in TESTS
    ]  # fmt: skip


def test_validate_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(OUTPUTS["md"], encoding="utf-8-sig")
    assert main(["validate", "--data", str(path), "--alone", "--leave-out", "row", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [(one["tokens"], one["depth"], one["model"]) for one in found] == [
        (prompt or new, depth, "qwen3-30b-a3b") for prompt, new, depth, _, _ in TESTS[:2]
    ]  # of the decoded row, nothing is left to learn from


@pytest.mark.parametrize(
    ("changed", "model"),
    [
        ({"model_filename": "", "model_type": "gpt-oss 20B MXFP4 MoE"}, "gpt-oss-20b"),
        ({"model_filename": "Qwen3-8B-Q8_0.gguf", "model_type": "unheard of"}, "qwen3-8b"),
        ({"model_filename": "C:\\m\\Qwen3-8B-Q8_0.gguf", "model_type": "qwen3 8B Q8_0"}, "qwen3-8b"),
        ({"model_filename": "m.gguf", "model_type": "llama 7B Q4_0", "model_n_params": 6_738_415_616}, "llama2-7b"),
        ({"model_filename": "m.gguf", "model_type": "llama 7B Q4_0", "model_n_params": 7_241_732_096}, "mistral-7b"),
    ],
)
def test_models_by_file_description_or_parameters(changed: dict[str, object], model: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([RECORDS[0] | changed]))
    assert [one.model for one in published(path)] == [model]


def test_models_of_a_table_by_their_parameters_and_empty_fields_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    for described, params, model in (("llama 7B", "6.74 B", "llama2-7b"), ("llama 1B", "134.52 M", "smollm2-135m")):
        path.write_text(MARKDOWN.replace("qwen3moe 30B.A3B", described).replace("30.53 B", params))
        assert {one.model for one in published(path)} == {model}
    path.write_text(as_csv([RECORDS[0] | {"n_depth": "", "stddev_ts": "", "n_ubatch": ""}]))
    assert [(one.depth, one.repeat_error, one.setup.micro_batch) for one in published(path)] == [(0, 0, 512)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{", "mine: not readable as JSON"),
        ("[]", "column backend is missing; wanted: source, .*, or llama-bench's own output"),
        ("| a | b |\n| - | - |\n| 1 | 2 |\n", "column backend is missing"),
        *(
            (json.dumps([RECORDS[0] | changed]), said)
            for changed, said in (
                ({"avg_ts": -1}, "avg_ts must be a number from 1e-06 to 1e.12, got -1"),
                ({"avg_ts": None}, "avg_ts must be a number"),
                ({"avg_ts": math.inf}, "avg_ts must be a number"),
                ({"stddev_ts": 10**400}, "stddev_ts must be a number .*, got 10000"),
                ({"n_prompt": "many"}, "mine: n_prompt must be a whole number from 0 to 4,194,304, got 'many'"),
                ({"n_prompt": [1]}, r"n_prompt must be a whole number .*, got \[1\]"),
                ({"n_depth": 2**40}, "n_depth must be a whole number from 0 to 4,194,304"),
                ({"n_ubatch": 0}, "n_ubatch must be a whole number from 1 to 4,194,304, got 0"),
                ({"n_ubatch": True}, "n_ubatch must be a whole number"),
                ({"model_n_params": math.nan}, "model_n_params must be a number"),
                ({"model_filename": "a\nb"}, "model_filename must be a line of at most"),
                ({"backends": ["ROCm"]}, "backends must be a line of at most"),
                ({"backends": "CUDA", "gpu_info": "NVIDIA A100"}, "no card of the device 'NVIDIA A100' is known"),
                ({"backends": "CUDA"}, "no backend 'CUDA': rates are predicted of ROCm"),
                ({"gpu_info": "R9700, RX 9070 XT"}, "a rate of devices of one kind is wanted, got R9700, RX 9070 XT"),
                ({"n_gen": 5}, "no test is of a prompt or of decode alone, as of -p and -n; those of -pg mix"),
            )
        ),
        (as_csv([RECORDS[0] | {"n_ubatch": "0"}]), "n_ubatch must be a whole number from 1"),
        ("[" * 5_000, "not readable as JSON"),
        (re.sub(r".*(pp2048|tg128).*\n", "", MARKDOWN), "no test is of a prompt or of decode alone"),
    ],
)
def test_what_is_none_of_them_is_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(text)
    with pytest.raises(ValueError, match=said):
        published(tmp_path / "mine")


@pytest.mark.parametrize(
    ("changed", "device", "cards"),
    [
        ({"gpu_info": "R9700, R9700"}, "2x R9700", 2),
        ({"gpu_info": "R9700, R9700", "split_mode": "none"}, "R9700", 1),
        ({"gpu_info": "R9700, R9700, RX 9070 XT", "devices": "ROCm0/ROCm1"}, "2x R9700", 2),
        ({"gpu_info": "R9700, RX 9070 XT", "devices": "ROCm1"}, "RX 9070 XT", 1),
        ({"gpu_info": "R9700, R9700", "devices": "auto"}, "2x R9700", 2),
        ({"gpu_info": ""}, "", 1),
    ],
)
def test_devices_that_ran_are_counted(changed: dict[str, object], device: str, cards: int, tmp_path: Path) -> None:
    path = tmp_path / "bench__mine.json"
    path.write_text(json.dumps([RECORDS[0] | changed, RECORDS[1] | changed]))
    assert [(one.device, one.setup.cards, one.setup.stack) for one in published(path)] == [(device, cards, "rocm-")] * 2


def test_devices_of_a_table_and_a_build_without_its_number(tmp_path: Path) -> None:
    path = tmp_path / "mine.md"
    path.write_text(MARKDOWN.replace("\n| model", "\n  Device 1: AMD Radeon AI PRO R9700, gfx1201\n| model", 1))
    assert {one.setup.cards for one in published(path)} == {2}
    path.write_text(json.dumps([{name: value for name, value in RECORDS[0].items() if name != "build_number"}]))
    assert [one.setup.build for one in published(path)] == ["llama.cpp 0"]


def test_rows_of_other_micro_batches_are_another_series(tmp_path: Path) -> None:
    path = tmp_path / "bench__mine.json"
    path.write_text(json.dumps([RECORDS[0], RECORDS[0] | {"n_ubatch": 512}]))
    assert len({one.series for one in published(path)}) == 2


FEW, MANY = 300, 2_000  # `--cases` says otherwise


def foreign_files(seed: int, count: int, folder: Path) -> int:
    """Mutants of every output, each read or refused in one line; how many were refused."""
    rng, path, refused = random.Random(seed), folder / "mine", 0
    for _ in range(count):
        output = rng.choice(list(OUTPUTS))
        changed = mutated(RECORDS[:3], rng)
        if rng.random() < 0.5 or not changed or not all(isinstance(one, dict) and one for one in changed):
            path.write_bytes(mutated_text(OUTPUTS[output], rng))
        elif output == "csv" and all(one.keys() <= changed[0].keys() for one in changed):
            path.write_bytes(as_csv(changed).encode(errors="replace"))
        else:
            path.write_text("\n".join(map(as_json, changed)) if output == "jsonl" else as_json(changed))
        try:
            with held(path.stat().st_size):
                assert all(one.ms > 0 and work_of(one).steps for one in published(path))
        except ValueError as error:
            one_line(error, path)
            refused += 1
    return refused


def test_foreign_outputs_are_refused_or_read(tmp_path: Path) -> None:
    assert FEW // 5 < foreign_files(0, FEW, tmp_path) < FEW


@pytest.mark.slow
def test_many_foreign_outputs_are_refused_or_read(share: Share, tmp_path: Path) -> None:
    count = share.count(MANY)
    assert count // 5 < foreign_files(share.seed, count, tmp_path) < count
