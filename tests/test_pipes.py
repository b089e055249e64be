"""Whatever is named, on the command line or from Python, is refused at once where it is no regular file."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

import eval
import refmodel
from attention.layout import parse_layout
from attention.regular_file import regular_file
from eval.cost.cards import card
from eval.cost.published import published
from eval.measure.records import file, json_lines
from eval.report.plots import Figure, save
from refmodel.checkpoint.folder_files import weight_files
from refmodel.read_hf_config import from_hf
from tests.eval.command_line import status_of
from tests.eval.report.synthetic_records import synthetic_records

A_PIPE = "is no regular file but a pipe: save what it gives to a file, and name that"


@pytest.fixture(autouse=True)
def _not_waited_on():
    """A pipe that is waited on ends its test, not the suite."""

    def give_up(*_):
        raise AssertionError("it is waited on")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Pipes of all kinds of names, and folders with one inside."""
    monkeypatch.chdir(tmp_path)
    names = ("text", "layout.json", "card.toml", "rates.csv", "plugin.py", "model.gguf", "taken", "squares.png")
    inside = ("kept/records.jsonl", "locked/.lock", "drawn/report.md", "config/config.json")
    inside += ("single/model.safetensors", "indexed/model.safetensors.index.json")
    for name in inside:
        Path(name).parent.mkdir()
    for name in (*names, *inside):
        os.mkfifo(name)
    return tmp_path


def test_what_there_is_instead_of_a_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "file").write_text("x")
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(tmp_path)  # names of sockets are short
        bound.bind("socket")
    for name, said in {
        tmp_path / "pipe": A_PIPE, tmp_path / "link": A_PIPE, Path("socket"): "is no regular file but a socket",
        Path("/dev/zero"): "is no regular file but a device", tmp_path: "is no regular file but a folder",
    }.items():  # fmt: skip
        with pytest.raises(ValueError) as refused:
            regular_file(name)
        assert str(refused.value) == f"{name} {said}"
    for name in (tmp_path / "file", tmp_path / "none", tmp_path / ("x" * 300), tmp_path / "a\0b"):
        assert regular_file(name) is name


def test_a_pipe_that_a_shell_writes_to_is_refused_like_the_others():
    reads, writes = os.pipe()
    with os.fdopen(reads), os.fdopen(writes, "w"), pytest.raises(ValueError, match=f"^/dev/fd/{reads} {A_PIPE}$"):
        regular_file(Path(f"/dev/fd/{reads}"))


TINY = ["compare", "--model", "tiny-dense", "--tokens", "16", "--quality-tokens", "0"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([*TINY, "--text", "text"], f"text {A_PIPE}"),
        (["quality", "--text", "text"], f"text {A_PIPE}"),
        (["quality", "--text", "/dev/zero"], "/dev/zero is no regular file but a device"),
        (["flops", "--layout", "layout.json"], f"layout.json {A_PIPE}"),
        (["crossover", "--layouts", "full", "layout.json"], f"layout.json {A_PIPE}"),
        ([*TINY, "--layouts", "layout.json"], f"layout.json {A_PIPE}"),
        (["flops", "--card", "card.toml"], f"card.toml {A_PIPE}"),
        (["cards", "--card", "card.toml"], f"card.toml {A_PIPE}"),
        (["validate", "--data", "rates.csv"], f"rates.csv {A_PIPE}"),
        (["validate", "--data", "/dev/zero"], "/dev/zero is no regular file but a device"),
        (["cards", "--plugin", "plugin.py"], "--plugin plugin.py: not a Python file; a Python file is wanted"),
        (["flops", "--model", "model.gguf"], "model.gguf: no model here: it is no regular file; accepted: a folder"),
        (["flops", "--model", "/dev/zero"], "/dev/zero: no model here: it is no regular file; accepted: a folder"),
        (["flops", "--model", "config"], f"config/config.json {A_PIPE}"),
        ([*TINY, "--out", "taken"], "taken: File exists: there is a file of this name; a folder is wanted"),
        ([*TINY, "--out", "/dev/zero"], "/dev/zero: File exists: there is a file of this name; a folder is wanted"),
        (["report", "kept"], "no records at kept/records.jsonl; the folder of a comparison is wanted"),
        (["report", "text"], "no records at text; the folder of a comparison is wanted"),
        (["report", "records.jsonl", "--out", "kept"], f"kept/records.jsonl {A_PIPE}"),
        (["report", "records.jsonl", "--out", "drawn"], f"drawn/report.md {A_PIPE}"),
        (["post", "--figure", "squares.png"], f"squares.png {A_PIPE}"),
        (["variants", "--figure", "squares.png"], f"squares.png {A_PIPE}"),
        (["validate", "--records", "kept"], "no records at kept/records.jsonl; the folder of a comparison is wanted"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_every_word_of_the_command_line_that_names_a_file(argv, said, here, capsys):
    for record in synthetic_records(("full", "swa(1024)"), lengths=(512, 2048), quality_tokens=0):
        json_lines.append(here / "records.jsonl", record)
    assert status_of([*argv, "--model", "smollm2-135m"] if argv[0] == "report" else argv) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1, told


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: parse_layout("layout.json", 4), "layout.json"),
        (lambda: card("card.toml"), "card.toml"),
        (lambda: published(Path("rates.csv")), "rates.csv"),
        (lambda: from_hf("config/config.json"), "config/config.json"),
        (lambda: refmodel.load("config"), "config/config.json"),
        (lambda: weight_files(Path("single")), "single/model.safetensors"),
        (lambda: weight_files(Path("indexed")), "indexed/model.safetensors.index.json"),
        (lambda: eval.compare("tiny-dense", ["full"], out="locked", tokens=[5], quality_tokens=0), "locked/.lock"),
        (lambda: file.read(Path("kept/records.jsonl")), "kept/records.jsonl"),
        (lambda: json_lines.append(Path("kept/records.jsonl"), {}), "kept/records.jsonl"),
        (lambda: file.refuse_place(Path("kept")), "kept/records.jsonl"),
        (lambda: save(Figure(), Path("squares.png")), "squares.png"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_every_call_that_takes_a_file(call, name, here):
    with pytest.raises(ValueError, match=rf"^(layout file )?{name}.* {A_PIPE}$"):
        call()
