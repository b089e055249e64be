"""`prefillwall generate` and `quality`: what they read, and what they say of it."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

import eval.commands.generate
import eval.commands.quality
from eval.cli import main
from eval.report.number_format import signed_percent
from refmodel import device_memory
from tests.refmodel.checkpoint.written_folder import LLAMA, write_folder
from tests.refmodel.tokenizer.test_folder import byte_tokenizer


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("",), "the prompt is empty"),
        (("x", "--model", "qwen3-0.6b"), "no tokenizer; give a checkpoint"),
        (("x", "--layout", "0*full"), "repeats a variant 0 times; at least 1"),
        (("x", "--layout", ""), "cannot read '' in layout ''"),
        (("x", "--stop", "<end>"), "no token '<end>' in this vocabulary; accepted: none, or a token"),
        (("x", "--new", "1000000000"), "a cache for 1,000,000,000 tokens of tiny-dense needs"),
        (("x", "--new", "1000000000", "--layout", "swa(5)"), "a cache for 1,000,000,000 tokens of tiny-dense needs"),
        (("x", "--top-k", "3"), "top_k and top_p say what a token is drawn from: give a temperature above 0"),
        (("x", "--stream", "--json"), "--json prints one object when all is there: leave --stream out"),
        (("x", "--chat"), "smollm2-135m has no chat template: leave --chat out"),
        (("-",), "the prompt is empty"),
        (("x", "--stop", ""), "no token '' in this vocabulary; accepted: none, or a token"),
    ],
)
def test_generate_reads_no_weights_for_what_it_refuses(words, said, with_words, monkeypatch, capsys):
    monkeypatch.setattr(eval.commands.generate, "read_model", lambda *_: pytest.fail("weights are read"))
    monkeypatch.setattr(device_memory, "available_host_bytes", lambda: 10**9)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert main(["generate", *words]) == 2
    assert said in capsys.readouterr().err


def test_generate_ends_at_the_stop_token(with_words, capsys, fast_compile):
    def answer(*words: str) -> dict:
        assert main(["generate", "word3 word5", "--new", "11", "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    free = answer("--stop", "none")
    assert len(free["tokens"]) == 11 and not free["stopped"] and free["conventions"]["stop"] == "none"
    end = free["tokens"][-1]
    stopped = answer("--stop", f"word{end}")
    assert stopped["stopped"] and stopped["tokens"] == free["tokens"][: free["tokens"].index(end)]
    assert answer()["conventions"]["stop"] == "</s>"
    assert main(["generate", "word3", "--stop", "<end>"]) == 2
    assert "no token '<end>' in this vocabulary; accepted: none, or a token" in capsys.readouterr().err


def test_generate_reads_a_folder_as_its_files_say(tmp_path, capsys, fast_compile):
    """A first token where the template asks for one, and any of its own ends; the log goes on where stdout is JSON."""
    write_folder(tmp_path, LLAMA | {"vocab_size": 257, "eos_token_id": 3})
    tokenizer = byte_tokenizer("<s>")
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    def answer(*words: str) -> dict:
        assert main(["generate", "hi", "--model", str(tmp_path), "--new", "7", "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    free = answer("--stop", "none")
    assert free["prompt_tokens"] == [256, *tokenizer.encode("hi", add_special_tokens=False).ids] and not free["stopped"]
    ends = [free["tokens"][4], free["tokens"][2]]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    ended = answer()
    first = min(free["tokens"].index(end) for end in ends)
    assert ended["stopped"] and ended["tokens"] == free["tokens"][:first]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": "</s>"}))
    assert main(["generate", "hi", "--model", str(tmp_path)]) == 2
    assert "eos_token_id is '</s>'; accepted: a token id, or a list of them" in capsys.readouterr().err


def test_a_stream_prints_the_same_text_and_a_prompt_may_come_in_by_a_pipe(
    with_words, monkeypatch, capsys, fast_compile
):
    drawn = ["--new", "11", "--temperature", "3", "--top-k", "40", "--top-p", "0.9"]
    said = []
    for words in (["word3 word5"], ["word3 word5", "--stream"], ["-"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"word3 word5\n")))
        assert main(["generate", *words, *drawn]) == 0
        said.append(capsys.readouterr().out)
    assert said[0].startswith("word3 word5") and len(said[0].split()) == 13
    assert said == [said[0]] * 3
    assert main(["generate", "word3 word5", *drawn, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["conventions"]["choice"] == "softmax(logits / 3), top_k 40, top_p 0.9"
    assert told["prompt"] + told["text"] + "\n" == said[0]


def test_a_chat_s_answer_alone_is_printed(tmp_path, capsys, fast_compile):
    pytest.importorskip("jinja2")
    write_folder(tmp_path, LLAMA | {"vocab_size": 257})
    byte_tokenizer("<s>").save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text("<s>[{{ messages[0].content }}]")
    asked = ["generate", "hi", "--model", str(tmp_path), "--new", "5", "--chat"]
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["prompt"] == "hi" and told["prompt_tokens"][0] == 256 and len(told["prompt_tokens"]) == 5
    assert main(asked) == 0
    assert capsys.readouterr().out == told["text"] + "\n"


def test_generate_says_what_lies_beyond_the_models_context(with_words, monkeypatch, caplog, fast_compile):
    small = dataclasses.replace(with_words, config=dataclasses.replace(with_words.config, max_positions=7))
    monkeypatch.setattr(eval.commands.generate, "read_model", lambda *_: small)
    assert main(["generate", "word3 word5", "--new", "5"]) == 0
    assert not caplog.records
    assert main(["generate", "word3 word5", "--new", "6"]) == 0
    (record,) = caplog.records
    assert "made for 7 tokens; the prompt has 2 and up to 6 are asked for" in record.getMessage()


@pytest.mark.slow
def test_quality_says_what_was_read_routed_and_assumed(capsys, fast_compile):
    words = ["quality", "--model", "tiny-moe", "--layouts", "routed(5|full)", "swa(7)", "--tokens", "1031"]
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "random weights and no tokenizer" in captured.err
    record = json.loads(captured.out)
    full, routed, window = record["layouts"]
    assert (full["layout"], full["kl_nats"], full["top1_agreement"]) == ("full", pytest.approx(0, abs=1e-6), 1)
    assert routed["assumptions"] == {"routed(5|full)": "routes take turns"} and not window["assumptions"]
    assert [route["layer"] for route in routed["routes"]] == [0, 1, 2, 3] and not window["routes"]
    assert all(sum(unit) == pytest.approx(1) for route in routed["routes"] for unit in route["shares"])
    assert main(words) == 0
    table = capsys.readouterr().out
    for one in record["layouts"]:
        assert f"{one['perplexity']:.3f}" in table and f"{one['kl_nats']:.4f}" in table
        change, kl = one["spread"]["perplexity_change"], one["spread"]["kl_nats"]
        for show, between in ((signed_percent, change), ("{:.4f}".format, kl)):
            assert f"{show(between['low'])} to {show(between['high'])}" in table
        assert kl["low"] <= one["kl_nats"] <= kl["high"] and f"{one['spread']['kl_p99_nats']:.3f}" in table
    assert full["spread"]["first_departure"] is None and "never" in table
    assert f"{window['spread']['first_departure']:,}" in table
    mean = sum(route["shares"][0][0] for route in routed["routes"]) / 4
    assert f"{100 * mean:.1f} %" in table and "counts of routed(5|full) assume: routes take turns" in table


def test_who_watches_quality_is_told_how_long_it_takes_and_how_far_it_is(monkeypatch, capsys, fast_compile):
    bar, told = Progress(disable=True), []
    monkeypatch.setattr(eval.commands.quality, "progress_bar", lambda *, watched: told.append(watched) or bar)
    monkeypatch.setattr(eval.commands.quality.output, "is_watched", lambda: True)
    assert main(["quality", "--model", "tiny-dense", "--layouts", "swa(7)", "swa(5)", "--tokens", "41"]) == 0
    (task,) = bar.tasks
    assert told == [True] and task.description.startswith("reading 41 tokens 3 times, about ") and task.completed == 3


def test_quality_is_what_compare_measures(tmp_path, capsys, fast_compile):
    common = ["--model", "tiny-dense", "--layouts", "swa(5)", "--tokens", "37", "--json"]
    assert main(["quality", *common]) == 0
    alone = json.loads(capsys.readouterr().out)["layouts"]
    assert main(["compare", *common, "--quality-tokens", "37", "--out", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    for one, row in zip(alone, rows, strict=True):
        assert [one[x] for x in ("layout", "perplexity", "kl_nats")] == [
            row[x] for x in ("layout", "perplexity", "kl_nats")
        ]


GEMMA4 = Path(__file__).parents[2] / "golden" / "gemma4"


@pytest.fixture
def gemma4(tmp_path):
    """A small Gemma 4, whose heads have two sizes, and a text of 37 tokens: `--model` and `--text`."""
    folder, text = tmp_path / "gemma4", tmp_path / "text"
    shutil.copytree(GEMMA4, folder)
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(53)}, unk_token="w0"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    text.write_text(" ".join(f"w{i}" for i in np.load(GEMMA4 / "golden.npz")["tokens"][0]))
    return ["--model", str(folder), "--text", str(text)]


@pytest.mark.slow
def test_quality_reads_a_model_with_heads_of_two_sizes(gemma4, capsys, fast_compile):
    """Under the model's own layout the perplexity is that of the logits of transformers."""
    assert main(["quality", *gemma4, "--layouts", "2*swa(5)+full", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    full, own = record["layouts"]
    golden = np.load(GEMMA4 / "golden.npz")
    logits_tv, next_t = golden["logits"][0, :-1].astype(np.float64), golden["tokens"][0, 1:]
    nll_t = np.log(np.exp(logits_tv).sum(-1)) - logits_tv[np.arange(36), next_t]
    assert record["tokens"] == 37 and own["perplexity"] == pytest.approx(np.exp(nll_t.mean()), rel=1e-5)
    assert full["kl_nats"] == pytest.approx(0, abs=1e-6) and own["kl_nats"] > 0.01


@pytest.mark.parametrize(
    ("max_positions", "prompt", "said"),
    [(41, 37, "the weights are read"), (41, 36, "was to have 36 tokens, got 37"),
     (31, 31, "the weights are read"), (31, 37, "was to have 37 tokens in one step, got 31")],
)  # fmt: skip
def test_a_layout_is_held_to_the_text_that_quality_would_read(max_positions, prompt, said, gemma4, monkeypatch, capsys):
    def read(*_):
        raise ValueError("the weights are read")

    monkeypatch.setattr(eval.commands.quality, "read_model", read)
    config = Path(gemma4[1]) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": max_positions}))
    assert main(["quality", *gemma4, "--layouts", f"evict_after(tova, prompt={prompt})"]) == 2
    assert said in capsys.readouterr().err
