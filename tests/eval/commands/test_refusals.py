"""What the command line says to bad input, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jax.errors import JaxRuntimeError

import eval.commands.cards
from eval.cli import main
from eval.cost.file_errors import WANTED, refusal
from tests.eval.command_line import status_of

NO_TOKENIZER = "bare has no tokenizer.json, tokenizer.model, or vocab.json with merges.txt to read a text with"
TWO_SIZES = str(Path(__file__).parents[2] / "golden" / "gemma4")

BAD_INPUT = [
    (["compere"], "no command 'compere' (did you mean 'compare'?); accepted: compare, quality"),
    ([], "a command is wanted; accepted: compare"),
    (["flops", "--layot", "full"], "no option '--layot' (did you mean '--layout'?); accepted: --help, --model"),
    (["models", "--jsom=1"], "no option '--jsom' (did you mean '--json'?)"),
    (["models", "tiny"], "one word too many: 'tiny'"),
    (["completion", "csh"], "no shell 'csh' (did you mean 'zsh'?); accepted: bash, zsh, fish"),
    # models
    (["compare", "--model", "smollm"], "no model 'smollm': no such path (did you mean 'smollm2-135m'?); accepted: "),
    (["compare", "--model", "qwen3-235b-a22b"], "needs 940.4 GB of weights in float32"),
    (["compare", "--model", "models/none.gguf"], "no model 'models/none.gguf': no such path"),
    (
        ["quality", "--model", "nemotron-3-nano-30b-a3b"],
        "can be costed (flops, crossover, variants, cards) and not run",
    ),
    (
        ["generate", "x", "--model", "nemotron-3-nano-30b-a3b"],
        "can be costed (flops, crossover, variants, cards) and not run",
    ),
    (["lower", "--model", "nemotron-3-nano-30b-a3b"], "can be costed (flops, crossover, variants, cards) and not run"),
    (["flops", "--model", "gema3-27b"], "no model 'gema3-27b' (did you mean 'gemma3-27b'?); accepted: qwen3-30b-a3b"),
    (["crossover", "--model", "qwen"], "no model 'qwen' (did you mean"),
    (["flops", "--model", "qwen3-30b"], "no model 'qwen3-30b' (did you mean 'qwen3-30b-a3b'?)"),
    (["variants", "--model", "tiny-dens"], "no model 'tiny-dens' (did you mean 'tiny-dense'?)"),
    (
        ["compare", "--model", TWO_SIZES],
        "gemma4 has heads of 2 sizes (6/2 of 14, 6/3 of 10): no one layer's attention can",
    ),
    (["quality", "--model", "bare"], NO_TOKENIZER),
    (["flops", "--model", "binary"], "binary"),
    (["generate", "x", "--model", "tiny-dense"], "no tokenizer; give a checkpoint"),
    (["quality", "--model", "tiny-dense", "--text", "text"], "no tokenizer to read --text with"),
    # layouts
    (["compare", "--model", "tiny-dense", "--layouts", "swa(0)"], "window must be at least 1 key"),
    (["compare", "--model", "tiny-dense", "--layouts", "0*full"], "repeats a variant 0 times; at least 1"),
    (["crossover", "--layouts", "swaa(3)"], "no attention variant 'swaa' (did you mean 'swa'?); accepted: full, swa("),
    (["flops", "--layout", "evict(streaming, window=64)"], "gives 'window' which it does not have; accepted: evict("),
    (["flops", "--layout", "evict(snapkv, budgt=64)"], "(did you mean 'budget'?); accepted: evict("),
    (["flops", "--layout", "evict(snapvk)"], "no eviction policy 'snapvk' (did you mean 'snapkv'?)"),
    (["variants", "swa(nan)"], "window must be a whole number, got 'nan'"),
    # lengths and other numbers
    (["compare", "--model", "tiny-dense", "--tokens", "999999"], "999999 are asked for"),
    (["compare", "--tokens", "0"], "a whole number of at least 1 is wanted, got '0'"),
    (["flops", "--no-compile", "--tokens", "99999999999999999999"], "at most 2,147,483,646 is wanted, got '99"),
    (["variants", "full", "--tokens", "2147483647"], "at most 2,147,483,646 is wanted, got '2147483647'"),
    (["quality", "--tokens", "1e12"], "a whole number of at least 2 is wanted, got '1e12'"),
    (["flops", "--start", "2_147_483_647"], "at most 2,147,483,646 is wanted"),
    (["flops", "--tokens", "-5"], "a whole number of at least 1 is wanted, got '-5'"),
    (["crossover", "--tokens", "64q"], "a whole number of at least 1 is wanted, got '64q'"),
    (["post", "--tokens", "nan"], "a whole number of at least 1 is wanted, got 'nan'"),
    (["quality", "--tokens", "1"], "a whole number of at least 2 is wanted, got '1'"),
    (["variants", "--draw", "-1"], "a whole number of at least 0 is wanted, got '-1'"),
    (["variants", "--draw", "5000"], "a picture has 1 to 512 tokens, got 5000"),
    (["flops", "--start", "-1"], "a whole number of at least 0 is wanted, got '-1'"),
    (["flops", "--tokens", "5", "--start", "9", "--chunk", "2"], "leave --start out"),
    (["compare", "--quality-tokens", "1"], "at least 2 tokens are wanted, got '1'"),
    (["compare", "--seed", "99999999999999"], "from 0 to 2**32 - 1"),
    (["generate", "x", "--temperature", "nan"], "a number of at least 0 is wanted, got 'nan'"),
    (["generate", "x", "--temperature", "-1"], "a number of at least 0 is wanted, got '-1'"),
    (["generate", "x", "--temperature", "inf"], "a number of at least 0 is wanted, got 'inf'"),
    (["generate", "x", "--new", "0"], "a whole number of at least 1 is wanted, got '0'"),
    (["atlas", "--tokens", "64"], "--tokens is of --measure: give that too, or leave it out"),
    (["atlas", "--models", "tiny-dense", "--resume"], "--resume is of --measure"),
    (["atlas", "--models", "tiny-dense", "--out", "text"], "--out is of --measure"),
    (["atlas", "--models", "tiny-dens"], "no model 'tiny-dens' (did you mean 'tiny-dense'?)"),
    (["atlas", "--models", "tiny-dense", "--base", "nothing"], "no model 'nothing'; accepted: qwen3-30b-a3b"),
    (
        ["atlas", "--models", "tiny-dense", "--figure", "a.gif"],
        "ends in .png, .svg, .pdf, .html is wanted, got 'a.gif'",
    ),
    (["atlas", "--measure", "--models", "tiny-dense", "--device", "gpu"], "JAX runs on cpu here; accepted: cpu"),
    (["atlas", "--measure", "--models", "tiny-dense", "--out", "text"], "text: File exists: there is a file of this"),
    (["atlas", "--measure", "--models", "tiny-dense", "--out", "/proc/x"], "/proc/x: "),
    # a layout that does not fit, before weights are read
    (["quality", "--layouts", "nowhere.json"], "cannot read layout file nowhere.json: No such file or directory"),
    (["quality", "--layouts", "delta"], "has no weights for delta in layer 0"),
    (["generate", "x", "--layout", "delta"], "has no weights for delta in layer 0"),
    (["compare", "--layouts", "delta"], "has no weights for delta in layer 0"),
    (["quality", "--layouts", "evict(h2o, chunk=4096)", "--tokens", "64"], "a chunk of 4096 tokens is larger than the"),
    (["quality", "--layouts", "evict_after(tova, prompt=5)", "--tokens", "64"], "was to have 5 tokens, got 64"),
    (
        ["compare", "--model", "tiny-dense", "--layouts", "evict_after(tova, prompt=5)", "--tokens", "5", "16"],
        "evict_after: the prompt was to have 5 tokens, got 16",
    ),
    (["flops", "--layout", "evict_after(h2o, prompt=5)", "--tokens", "16"], "was to have 5 tokens, got 16"),
    (["lower", "--head-dim", "100000"], "--head-dim 100000; accepted: 16, 32, 64, 128, 256"),
    (["lower", "--tiles", "x"], "a tile is rows x keys, warps, stages, such as 128x64,8,1; got 'x'"),
    (["models", "--plugin", "exits.py"], "--plugin exits.py: line 2: SystemExit: 3"),
    (["compare", "--plugin", "text"], "--plugin text: not a Python file; a Python file is wanted"),
    # words out of a list
    (["compare", "--impl", "flash"], "no --impl 'flash'; accepted: auto, dense"),
    (["flops", "--impl", "blockwize"], "no --impl 'blockwize' (did you mean 'blockwise'?)"),
    (["compare", "--dtype", "float16"], "no --dtype 'float16' (did you mean 'bfloat16'?); accepted: float32, bfloat16"),
    (["lower", "--dtype", "int8"], "no --dtype 'int8'; accepted: bf16, f16, f32"),
    (["lower", "--target", "gfx1200"], "no --target 'gfx1200' (did you mean 'gfx1201'?); accepted: gfx1201"),
    (["lower", "--programs", "prefil"], "no --programs 'prefil' (did you mean 'prefill'?)"),
    (["flops", "--card", "r97"], "no card 'r97' (did you mean 'r9700'?)"),
    (["flops", "--card", "h100"], "no card 'h100' (did you mean 'h100-sxm'?)"),
    (["flops", "--weights", "5bit"], "no format of weights '5bit' (did you mean"),
    (["atlas", "--weights", "int4(7)"], "--weights: int4 takes groups of a multiple of 16, got 7"),
    (["crossover", "--weights", "int4"], "--weights is of --card: give that too, or leave it out"),
    (["crossover", "--attention-dtype", "fp8"], "--attention-dtype is of --card: give that too"),
    (["crossover", "--card", "rtx-4090", "--products", "fp8"], "card rtx-4090 has no peak rate for fp8; it has bf16"),
    (["lower", "--weights", "4.5bit"], "no format of weights '4.5bit'; accepted: int4, int8, fp8"),
    (
        ["lower", "--programs", "training", "--weights", "int4"],
        "training takes the derivative of weights, which packed",
    ),
    (["crossover", "--convention", "layer"], "no --convention 'layer' (did you mean 'layers'?)"),
    (["crossover", "--pairs", "all"], "no --pairs 'all'; accepted: causal, half-square, square"),
    (["compare", "--model", "tiny-dense", "--device", "gpu"], "JAX runs on cpu here; accepted: cpu, or no --device"),
    (["compare", "--impl", "cudnn"], "cudnn runs on NVIDIA GPUs, this is cpu; accepted here: auto, dense, blockwise"),
    (["compare", "--impl", "mosaic"], "mosaic runs on sm_90, this is cpu"),
    (["compare", "--model", "tiny-dense", "--quality-tokens", "41000"], "within the 40,960 tokens that tiny-dense is"),
    (["report", "nowhere", "--card", "r9701"], "no card 'r9701' (did you mean 'r9700'?)"),
    (["report", "nowhere"], "no records at nowhere; the folder of a comparison is wanted, or its records.jsonl"),
    # files
    (["compare", "--model", "tiny-dense", "--text", "/nowhere"], "'/nowhere' as UTF-8: No such file or directory\n"),
    (["quality", "--text", "binary"], "cannot read the text 'binary' as UTF-8"),
    (["compare", "--model", "tiny-dense", "--out", "/proc/nowhere"], "/proc/nowhere: No such file or directory: there"),
    (["compare", "--model", "tiny-dense", "--out", "text"], "text: File exists: there is a file of this name; a"),
    (["compare", "--model", "tiny-dense", "--out", "x" * 300], f"{'x' * 300}: File name too long\n"),
    (["compare", "--model", "tiny-dense", "--text", "text"], "with random (seed 0) weights has no tokenizer"),
    (["compare", "--model", "tiny-dense", "--text", "text", "--layers-apart"], "layers apart are no model that reads"),
    (["report", "x" * 300], f"no records at {'x' * 300}; the folder of a comparison is wanted"),
    (["crossover", "--layouts", "none.json"], "cannot read layout file none.json: No such file or directory\n"),
    (["post", "--figure", "squares"], "ends in .png, .svg, .pdf is wanted, got 'squares'"),
    (["post", "--figure", "bare"], "is wanted, got 'bare'"),
    (["post", "--figure", "/proc/nowhere/squares.png"], "/proc/nowhere: "),
    (["variants", "--figure", "variants.svg"], "ends in .png is wanted, got 'variants.svg'"),
    (["variants", "swa(3)", "--draw", "0", "--figure", "text/x.png"], "text: "),
    (["validate", "--data", "nowhere.csv"], "cannot read the published rates nowhere.csv: No such file"),
    (["validate", "--data", "bare"], "bare is no regular file but a folder"),
    (["validate", "--data", "text"], "text: column "),
    (["cards", "--card", ""], "no card ''; accepted: r9700, "),
    (["flops", "--card", ""], "no card ''; accepted: r9700, "),
    (["validate", "--mixed"], "--mixed takes records that do not compare: give a folder of them, --records"),
    (["validate", "--card", ""], "no card ''; accepted: r9700, "),
    (["flops", "--layout", ""], "cannot read '' in layout ''"),
    (["quality", "--text", ""], ". is no regular file but a folder"),
    (["generate", "x", "--model", "bare"], NO_TOKENIZER),
    (["compare", "--model", "bare", "--tokens", "5", "--quality-tokens", "5"], NO_TOKENIZER),
    (["cards", "--card", "nowhere.toml"], "nowhere.toml: not a readable TOML card (No such file or directory)"),
    (["cards", "--card", "text.toml"], "text.toml: a card needs a table [peak_tflops]"),
]


@pytest.mark.parametrize(("argv", "message"), BAD_INPUT, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_line_and_status_2(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("a,b\n1,2\n")
    (tmp_path / "text.toml").write_text("")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "binary").write_bytes(b"\xff\x00\xfe")
    make_checkpoint_without_tokenizer(tmp_path / "bare")
    assert status_of(argv) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1, captured.err
    assert captured.out == ""


def make_checkpoint_without_tokenizer(folder: Path) -> None:
    """As small as a checkpoint can be; nothing of it is read where the tokenizer is missed first."""
    import numpy as np
    from safetensors.numpy import save_file

    sizes = {"num_hidden_layers": 1, "hidden_size": 4, "num_attention_heads": 1, "num_key_value_heads": 1,
             "head_dim": 4, "vocab_size": 3, "intermediate_size": 2, "max_position_embeddings": 7}  # fmt: skip
    other = {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(sizes | other))
    shapes = {"input_layernorm": (4,), "post_attention_layernorm": (4,), "mlp.gate_proj": (2, 4), "mlp.up_proj": (2, 4),
              "mlp.down_proj": (4, 2), **{f"self_attn.{x}_proj": (4, 4) for x in "qkvo"}}  # fmt: skip
    weights = {f"model.layers.0.{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    weights |= {"model.embed_tokens.weight": np.zeros((3, 4), np.float32), "model.norm.weight": np.ones(4, np.float32)}
    save_file(weights, folder / "model.safetensors")


def test_what_is_said_of_a_missing_file_fits_one_that_is_read():
    assert "to be read it has to exist" in refusal(FileNotFoundError(2, "No such file or directory", "x"))


NOT_ALLOWED = f"x: Permission denied: {WANTED[PermissionError]}"


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (None, 0, ""),
        (ValueError("no such\nthing"), 2, "prefillwall cards: no such thing\n"),
        (PermissionError(13, "Permission denied", "x"), 2, f"prefillwall cards: {NOT_ALLOWED}\n"),
        (OSError(28, "No space left on device", "x"), 2, "prefillwall cards: x: No space left on device\n"),
        (NotImplementedError("no\nsinks"), 2, "prefillwall cards: no sinks\n"),
        (MemoryError("Unable to allocate 7 TiB"), 2, "prefillwall cards: out of memory: Unable to allocate 7 TiB\n"),
        (MemoryError(), 2, "prefillwall cards: out of memory\n"),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: 7\nbytes"), 2, "prefillwall cards: RESOURCE_EXHAUSTED: 7 bytes\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_exit_status(raised, status, said, monkeypatch, capsys):
    def run(_):
        if raised:
            raise raised
        return 0

    monkeypatch.setattr(eval.commands.cards, "run", run)
    assert main(["cards"]) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("raised", [RuntimeError("RESOURCE_EXHAUSTED"), JaxRuntimeError("INTERNAL: a bug")])
def test_a_bug_keeps_its_traceback(raised, monkeypatch):
    def run(_):
        raise raised

    monkeypatch.setattr(eval.commands.cards, "run", run)
    with pytest.raises(type(raised)):
        main(["cards"])
