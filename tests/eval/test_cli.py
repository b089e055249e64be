"""The command line: what it writes, and what it says to bad input."""

from __future__ import annotations

import pytest

from eval import records
from eval.cli import main

TINY = ["compare", "--model", "tiny-dense", "--layouts", "swa(16)", "--tokens", "32", "64"]


def test_compare_leaves_records_and_a_report_and_never_overwrites(tmp_path, capsys, fast_compile):
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.md").read_text().count("swa(16)") > 3
    assert f"report: {tmp_path / 'report.md'}" in capsys.readouterr().out
    first = (tmp_path / "records.jsonl").read_bytes()
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 0
    assert (tmp_path / "records.jsonl").read_bytes() == first
    assert main([*TINY, "--out", str(tmp_path), "--tokens", "32"]) == 0
    assert [path.read_bytes() for path in tmp_path.glob("records.2*.jsonl")] == [first]


def test_resuming_another_model_or_a_foreign_file_is_refused_before_anything_runs(tmp_path, capsys):
    records.append(
        tmp_path / "records.jsonl", {"kind": "prefill", "layout": "full", "tokens": 5, "status": "ok", "model": "other"}
    )
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 2
    assert "holds records of model 'other', this run's is 'tiny-dense'" in capsys.readouterr().err
    (tmp_path / "records.jsonl").write_text('{"kind": "prefill_against_transformers"}\n')
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 2
    assert "is not a record of a comparison: no 'layout'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["compare", "--model", "smollm"], "no model 'smollm': no such path; accepted: a folder"),
        (["compare", "--model", "tiny-dense", "--layouts", "swa(0)"], "window must be at least 1 key"),
        (["compare", "--model", "tiny-dense", "--text", "/nowhere"], "cannot read the text '/nowhere'"),
        (["compare", "--model", "tiny-dense", "--tokens", "999999"], "999999 are asked for"),
        (["compare", "--model", "qwen3-235b-a22b"], "needs 940.4 GB of weights in float32"),
        (["compare", "--model", "models/none.gguf"], "no model 'models/none.gguf': no such path"),
        (["compare", "--model", "tiny-dense", "--layouts", "99999999999999999999*full"], "1 to 4"),
        (["compare", "--model", "tiny-dense", "--out", "/proc/nowhere"], "/proc/nowhere"),
        (["compare", "--quality-tokens", "1"], "at least 2 tokens are wanted, got '1'"),
        (["compare", "--seed", "99999999999999"], "from 0 to 2**32 - 1"),
        (["compare", "--tokens", "0"], "a whole number of at least 1 is wanted, got '0'"),
        (["compare", "--model", "tiny-dense", "--device", "gpu"], "--device gpu: JAX runs on cpu here"),
        (["compare", "--impl", "flash"], "invalid choice: 'flash'"),
        (["compare", "--dtype", "float16"], "invalid choice: 'float16'"),
        (["generate", "x", "--model", "tiny-dense"], "no tokenizer; give a checkpoint"),
        (["compere"], "no command 'compere' (did you mean 'compare'?)"),
    ],
)
def test_bad_input_is_one_line_and_status_2(argv, message, capsys):
    try:
        status = main(argv)
    except SystemExit as stop:  # argparse's own errors
        status = stop.code
    assert status == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1, err
