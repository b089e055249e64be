"""`prefillwall save`: what it refuses before any weight is read, and folders that other commands read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import eval.commands.save
import refmodel
from eval.cli import main
from refmodel.digest import params_digest
from tests.refmodel.checkpoint.written_folder import LLAMA, write_folder
from tests.refmodel.tokenizer.test_folder import byte_tokenizer

GOLDEN = Path(__file__).parents[2] / "golden"


def answer(capsys, *words):
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_other_commands_read_the_folder_with_its_layout(tmp_path, capsys):
    layout = "swa(5, sinks=1)+2*full"
    saved = answer(capsys, "save", "--model", GOLDEN / "moe", "--layout", layout, "--out", tmp_path / "m")
    assert (saved["layout"], saved["weights"]) == (layout, "checkpoint")
    model = refmodel.load(str(tmp_path / "m"))
    assert params_digest(model.params) == saved["digest"] and model.held.n_bytes == saved["weight_bytes"]
    asked = ["flops", "--tokens", 19, "--no-compile", "--model"]
    found = answer(capsys, *asked, tmp_path / "m")
    assert found["layout"] == layout
    own = answer(capsys, *asked, GOLDEN / "moe", "--layout", layout)
    assert {key: one for key, one in found.items() if key != "model"} == {
        key: one for key, one in own.items() if key != "model"
    }
    assert main(["save", "--model", str(tmp_path / "m"), "--dtype", "bf16", "--out", str(tmp_path / "half")]) == 0
    said = capsys.readouterr()
    assert said.out == f"m, {layout}, bfloat16: {tmp_path / 'half'}\n"
    assert said.err.startswith(f"transformers passes over {layout}, which stands under 'prefillwall'")
    assert main(["save", "--model", str(GOLDEN / "moe"), "--out", str(tmp_path / "as it was")]) == 0
    assert "transformers" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "taken"], "taken is there and not empty; overwrite=True, or --overwrite, puts"),
        (["--out", "taken", "--overwrite"], "taken holds notes.txt, which no model is saved with"),
        (["--out", "~/taken"], "taken is there and not empty; overwrite=True, or --overwrite, puts"),
        (["--out", "~nosuchuser/x"], "~nosuchuser/x is no path of a folder (Could not determine home directory.)"),
        (["--out", ""], "is the folder that this runs in, which is not replaced; name one inside it"),
        (["--out", "new", "--layout", "delta(1,1,4,4)"], "has no weights for delta("),
        (["--out", "new", "--model", "glm-4.7-flash"], "can be costed"),
    ],
)
def test_no_weight_is_read_for_what_is_refused(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(eval.commands.save, "read_model", lambda *_: pytest.fail("weights are read"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("taken").mkdir()
    Path("taken/notes.txt").touch()
    assert main(["save", "--model", str(GOLDEN / "dense-tied"), *words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_an_older_model_is_replaced_where_that_is_asked(tmp_path, capsys):
    words = ["save", "--model", str(GOLDEN / "llama"), "--out", str(tmp_path / "m")]
    assert main(words) == 0
    assert main(words) == 2
    assert main([*words, "--overwrite"]) == 0


def test_a_folder_of_a_variant_that_is_not_known_names_the_plugin_flag(tmp_path, capsys):
    assert main(["save", "--model", str(GOLDEN / "llama"), "--out", str(tmp_path / "m")]) == 0
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prefillwall": {"layout": "wedge(3)"}}))
    for command in (["generate", "hi"], ["crossover"], ["flops"]):
        assert main([*command, "--model", str(tmp_path / "m")]) == 2
        err = capsys.readouterr().err
        assert "no attention variant 'wedge'" in err and "--plugin FILE" in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_saved_model_goes_on_as_before(tmp_path, capsys, fast_compile):
    write_folder(tmp_path / "own", LLAMA | {"vocab_size": 257, "eos_token_id": 3})
    byte_tokenizer("<s>").save(str(tmp_path / "own" / "tokenizer.json"))
    words = "--layout", "swa(3,sinks=1)"
    saved = answer(capsys, "save", "--model", tmp_path / "own", *words, "--out", tmp_path / "saved")
    before = answer(capsys, "generate", "hi there", "--new", 7, "--model", tmp_path / "own", *words)
    after = answer(capsys, "generate", "hi there", "--new", 7, "--model", tmp_path / "saved")
    assert saved["layout"] == after["layout"]
    assert {key: one for key, one in before.items() if key != "model"} == {
        key: one for key, one in after.items() if key != "model"
    }
    (tmp_path / "text").write_text("One, two, three. " * 9)
    quality = answer(
        capsys, "quality", "--model", tmp_path / "saved", "--layouts", "swa(3)", "--tokens", 31, "--text",
        tmp_path / "text",
    )  # fmt: skip
    assert [one["layout"] for one in quality["layouts"]] == ["full", "swa(3)"]
