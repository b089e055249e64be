"""Tokenizers: rebuilt from a GGUF vocabulary, text is split and numbered as in the original."""

from __future__ import annotations

import gguf
import pytest
from gguf import TokenType
from tokenizers.pre_tokenizers import ByteLevel

from refmodel.default_model import default_gguf, default_text
from tests.checkpoints import load_tokenizer

MERGES = ["Ġ Ġ", "1 2", "a 1", "' S", ". Ċ", "Ġ a"]
ADDED = {"<|end|>": TokenType.CONTROL, "<think>": TokenType.USER_DEFINED, "[PAD0]": TokenType.UNUSED}
TOKENS = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES), *ADDED]
TYPES = [TokenType.NORMAL] * (256 + len(MERGES)) + [*ADDED.values()]


def write_gguf(folder, *, pre="smollm", model="gpt2", tokens=TOKENS, types=TYPES, merges=MERGES, add_bos=False):
    writer = gguf.GGUFWriter(folder / "t.gguf", "llama")
    writer.add_tokenizer_model(model)
    writer.add_add_bos_token(add_bos)
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
    ],
)
def test_split_by_pre_tokenizer(tmp_path, pre, text, pieces):
    encoding = load_tokenizer(write_gguf(tmp_path, pre=pre)).encode(text)
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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pre": "llama-bpe"}, "pre is 'llama-bpe'; accepted: 'default', 'gpt-2', 'smollm', 'qwen2'"),
        ({"model": "llama"}, "model is 'llama'; accepted: 'gpt2'"),
        ({"add_bos": True}, "add_bos_token is True"),
        ({"tokens": []}, "tokens is missing"),
        ({"types": TYPES[1:]}, f"{len(TOKENS)} tokens with {len(TOKENS) - 1} token_type entries"),
        ({"merges": ["a b"]}, "merges do not fit the tokens"),
        ({"merges": ["a"]}, "merges do not fit the tokens"),
    ],
)
def test_gguf_refusals(tmp_path, changed, message):
    with pytest.raises(ValueError, match=f"t.gguf: tokenizer.ggml: .*{message}"):
        load_tokenizer(write_gguf(tmp_path, **changed))


def test_unreadable_file_is_named(tmp_path):
    assert load_tokenizer(tmp_path) is None  # a folder without one reads token ids alone
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
