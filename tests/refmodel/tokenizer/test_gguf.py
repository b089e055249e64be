"""Tokenizers of GGUF files: text is split and numbered as in the original."""

from __future__ import annotations

import unicodedata

import gguf
import pytest
from gguf import TokenType
from tokenizers.pre_tokenizers import ByteLevel

from refmodel.checkpoint import open_checkpoint
from refmodel.default_model import default_gguf, default_text
from refmodel.fields import Fields
from refmodel.tokenizer.gguf import gguf_end_tokens, gguf_tokenizer
from refmodel.tokenizer.splits import SPLITS
from tests.checkpoints import load_tokenizer
from tests.refmodel.checkpoint.test_gguf_file import random_model, write_file

MERGES = ["Ġ Ġ", "1 2", "a 1", "' S", ". Ċ", "Ġ a"]
ADDED = {"<|end|>": TokenType.CONTROL, "<think>": TokenType.USER_DEFINED, "[PAD0]": TokenType.UNUSED}
TOKENS = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES), *ADDED]
TYPES = [TokenType.NORMAL] * (256 + len(MERGES)) + [*ADDED.values()]


def write_gguf(folder, *, pre="smollm", model="gpt2", tokens=TOKENS, types=TYPES, merges=MERGES, scores=(), **told):
    writer = gguf.GGUFWriter(folder / "t.gguf", "llama")
    writer.add_tokenizer_model(model)
    for key, value in told.items():
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(f"tokenizer.ggml.{key}", value)
    if scores:
        writer.add_token_scores(scores)
    if pre:
        writer.add_tokenizer_pre(pre)
    if tokens:
        writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return folder / "t.gguf"


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("smollm", "a  12", "a ĠĠ 1 2"),
        ("gpt-2", "a  12", "a Ġ Ġ 12"),
        ("default", "a  12", "a Ġ Ġ 12"),
        ("", "a  12", "a Ġ Ġ 12"),
        ("qwen2", "a  12", "a Ġ Ġ 1 2"),
        ("smollm", "'S a1.\n", "' S Ġa 1 . Ċ"),
        ("gpt-2", "'S a1.\n", "' S Ġa 1 . Ċ"),
        ("qwen2", "'S a1.\n", "'S Ġa 1 .Ċ"),
        ("gpt-2", "e\u0301", "e Ì ģ"),
        ("qwen2", "e\u0301", "Ã ©"),
        ("deepseek-r1-qwen", "e\u0301", "e Ì ģ"),
        ("deepseek-r1-qwen", "'S a1.\n", "'S Ġa 1 .Ċ"),
        ("llama-bpe", "a  12", "a Ġ Ġ 12"),
        ("llama-bpe", "'S a1.\n", "'S Ġa 1 .Ċ"),
        ("falcon", "a1.\n", "a 1 . Ċ"),
        ("tekken", "a1.\n", "a 1 .Ċ"),
    ],
)
def test_split_by_pre_tokenizer(tmp_path, pre, text, pieces):
    encoding = load_tokenizer(write_gguf(tmp_path, pre=pre, add_bos_token=False)).encode(text)
    assert encoding.tokens == pieces.split()
    assert encoding.ids == [TOKENS.index(piece) for piece in pieces.split()]


def test_added_tokens(tmp_path):
    tokenizer = load_tokenizer(write_gguf(tmp_path))
    ids = tokenizer.encode("a<|end|>a<think>é[PAD0]").ids
    assert [TOKENS[i] for i in ids] == ["a", "<|end|>", "a", "<think>", "Ã", "©", *"[PAD", "0", "]"]
    assert tokenizer.decode(ids) == "aa<think>é[PAD0]"
    assert tokenizer.get_vocab_size() == len(TOKENS) - 1


def test_folder(tmp_path):
    tokenizer = load_tokenizer(write_gguf(tmp_path))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode("a  12<think>").ids == tokenizer.encode("a  12<think>").ids


END, THINK = TOKENS.index("<|end|>"), TOKENS.index("<think>")


@pytest.mark.parametrize(
    ("told", "edges"),
    [
        ({"pre": "qwen2"}, ([], [])),
        ({"pre": "qwen2", "add_bos_token": True, "bos_token_id": END}, ([END], [])),
        ({"pre": "qwen2", "add_eos_token": True, "eos_token_id": END}, ([], [END])),
        ({"pre": "llama-bpe", "bos_token_id": END}, ([END], [])),
        ({"pre": "llama-bpe", "bos_token_id": END, "add_bos_token": False}, ([], [])),
        ({"pre": "llama-bpe"}, ([11], [])),
        ({"pre": "tekken", "bos_token_id": THINK, "add_eos_token": True, "eos_token_id": END}, ([THINK], [END])),
    ],
)
def test_first_and_last_token_are_those_of_llama_cpp(tmp_path, told, edges):
    """Where a file does not say, its pre-tokenizer decides, and token 11 is the first."""
    first, last = edges
    assert load_tokenizer(write_gguf(tmp_path, **told)).encode("1").ids == [*first, TOKENS.index("1"), *last]


def test_a_word_that_is_a_token_is_one_whatever_the_merges_say(tmp_path):
    for pre, pieces in (("llama-bpe", ["aSaS"]), ("qwen2", [*"aSaS"])):
        path = write_gguf(tmp_path, pre=pre, tokens=[*TOKENS, "aSaS"], types=[*TYPES, 1], add_bos_token=False)
        assert load_tokenizer(path).encode("aSaS").tokens == pieces


@pytest.mark.parametrize("pre", SPLITS)
def test_every_split_keeps_the_whole_text(tmp_path, pre):
    text = "It's 12345 o'clock, IT'S\tüber-Straße; 漢字かな한국 e\u0301!\r\n\n  x == [y]…  "
    tokenizer = load_tokenizer(write_gguf(tmp_path, pre=pre, add_bos_token=False))
    wanted = unicodedata.normalize("NFC", text) if SPLITS[pre].composed else text
    assert tokenizer.decode(tokenizer.encode(text).ids) == wanted


PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "ab", "▁a", "▁ab", "<user>"]
PIECE_KINDS = [2, 3, 3, *[6] * 256, 1, 1, 1, 1, 1, 1, 4]
SCORES = [0.0] * 259 + [-9.0, -8.0, -7.0, -1.0, -2.0, -3.0, 0.0]


@pytest.mark.parametrize(
    ("told", "text", "pieces"),
    [
        ({}, "ab", "<s> ▁ab"),
        ({}, " ab", "<s> ▁ ▁ab"),
        ({}, "aab", "<s> ▁a ab"),
        ({}, "é", "<s> ▁ <0xC3> <0xA9>"),
        ({}, "a<user>ab", "<s> ▁a <user> ▁ab"),
        ({}, "a</s>", "<s> ▁a </s>"),
        ({"add_space_prefix": False}, "ab", "<s> ab"),
        ({"add_bos_token": False, "add_eos_token": True}, "ab", "▁ab </s>"),
        ({"bos_token_id": 2}, "b", "</s> ▁ b"),
    ],
)
def test_pieces_with_scores(tmp_path, told, text, pieces):
    """Sentencepiece in a GGUF file, as llama.cpp reads it: a space in front of each stretch of text, BOS by default."""
    path = write_gguf(tmp_path, model="llama", tokens=PIECES, types=PIECE_KINDS, scores=SCORES, **told)
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode(text).tokens == pieces.split()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pre": "kimi-k2"}, "pre is 'kimi-k2'; accepted: 'default', 'gpt-2', "),
        ({"model": "t5"}, "model is 't5'; accepted: 'gpt2', 'llama'"),
        ({"model": "llama"}, "scores is missing"),
        ({"model": "llama", "scores": [0.0]}, "tokens with 1 scores and"),
        ({"add_bos_token": True, "bos_token_id": 991}, "a text begins or ends with token 991, which the"),
        ({"tokens": []}, "tokens is missing"),
        ({"types": TYPES[1:]}, f"{len(TOKENS)} tokens with {len(TOKENS) - 1} token_type entries"),
        ({"merges": ["a b"]}, "merges do not fit the tokens"),
        ({"merges": ["a"]}, "merges do not fit the tokens"),
    ],
)
def test_gguf_refusals(tmp_path, changed, message):
    with pytest.raises(ValueError, match=f"t.gguf: tokenizer.ggml: .*{message}"):
        load_tokenizer(write_gguf(tmp_path, **changed))


@pytest.mark.parametrize("number", [-1, 2**31, 2**32, 2**40])
@pytest.mark.parametrize("edge", ["bos", "eos"])
def test_a_first_or_last_token_of_no_vocabulary_is_refused(edge, number):
    """llama.cpp warns of it and takes its default, with which a text would not begin as its file says."""
    told = {"model": "gpt2", "tokens": TOKENS, "merges": MERGES, f"add_{edge}_token": True, f"{edge}_token_id": number}
    fields = Fields({f"tokenizer.ggml.{key}": value for key, value in told.items()}, "t.gguf")
    with pytest.raises(ValueError, match=rf"t.gguf: .* with token {number}, which the vocabulary does not have"):
        gguf_tokenizer(fields)


def test_end_tokens_that_the_vocabulary_does_not_have_are_left_out_and_said(tmp_path):
    """Files spell a token that there is not as the largest number of 32 bits."""

    def ends(writer):
        writer.add_eos_token_id(5)
        writer.add_uint32("tokenizer.ggml.eot_token_id", 2**32 - 1)

    tensors = random_model("qwen3")[1]
    opened = open_checkpoint(write_file(tmp_path / "m.gguf", "qwen3", tensors, also=ends))
    assert opened.end_tokens() == (5,)
    said = f"left out: end token {2**32 - 1}, for the vocabulary is 0 to {opened.config.vocab_size - 1}"
    assert opened.remarks() == [f"{tmp_path / 'm.gguf'}: {said}"]


@pytest.mark.parametrize("number", ["5", 5.0, True, [5]])
def test_an_end_token_that_is_no_id_is_named(number):
    with pytest.raises(ValueError, match=r"^t.gguf: tokenizer.ggml: eot_token_id must be of type int, got "):
        gguf_end_tokens(Fields({"tokenizer.ggml.eot_token_id": number}, "t.gguf"))


@pytest.mark.parametrize(
    ("model", "key", "value", "message"),
    [
        ("gpt2", "tokens", [1], "tokens must be of type str each, got 1"),
        ("llama", "tokens", [None], "tokens must be of type str each, got None"),
        ("gpt2", "tokens", ["\udc80"], "merges do not fit the tokens"),
        ("llama", "tokens", ["\udc80"], "its pieces make no tokenizer"),
        ("gpt2", "token_type", ["x"], "token_type must be of type int each, got 'x'"),
        ("llama", "token_type", [True], "token_type must be of type int each, got True"),
        ("gpt2", "merges", [3], "merges must be of type str each, got 3"),
        ("gpt2", "merges", ["a  b"], "merges do not fit the tokens"),
        ("llama", "scores", ["0"], "scores must be of type float each, got '0'"),
        ("llama", "scores", [float("nan")], "the score of a is no number"),
    ],
)
def test_lists_of_other_things_are_refused(model, key, value, message):
    told = {"model": model, "tokens": ["a"], "token_type": [1], "merges": [], "scores": [0.0]} | {key: value}
    fields = Fields({f"tokenizer.ggml.{name}": one for name, one in told.items()}, "t.gguf")
    with pytest.raises(ValueError, match=rf"^t.gguf: tokenizer.ggml: .*({message})") as refusal:
        gguf_tokenizer(fields)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("first", ["$A", "b:c", "$B:1", ":", "$0"])
def test_a_first_token_may_be_spelled_like_a_sign_of_templates(tmp_path, first):
    told = {"add_bos_token": True, "bos_token_id": len(TOKENS)}
    path = write_gguf(tmp_path, tokens=[*TOKENS, first], types=[*TYPES, TokenType.CONTROL], **told)
    encoding = load_tokenizer(path).encode("1")
    assert encoding.ids == [len(TOKENS), TOKENS.index("1")] and encoding.tokens == [first, "1"]


def test_unreadable_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no config.json here, which says what the model is$"):
        load_tokenizer(tmp_path)
    (tmp_path / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(ValueError, match=r"no config.json here, .* what orbax or a training run keeps is restored in"):
        load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no tokenizer.json, .* to read a text with; .* takes token ids"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no readable tokenizer.json here"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match=r"t.gguf: not a readable GGUF file"):
        load_tokenizer(tmp_path / "t.gguf")


def test_smollm2():
    try:
        path = default_gguf()
    except ValueError as error:
        pytest.skip(str(error))
    tokenizer = load_tokenizer(path)
    text = default_text()
    assert tokenizer.encode("Hello, world!").ids == [19556, 28, 905, 17]
    assert tokenizer.encode("in    2024").tokens == ["in", "ĠĠĠĠ", "2", "0", "2", "4"]
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
