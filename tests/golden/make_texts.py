"""Golden files of texts: tiny tokenizers as folders hold them, and the ids that transformers gives.

    python -m tests.golden.make_texts     rewrites tests/golden/texts; needs transformers, sentencepiece, protobuf

ids.json of each folder: a list of [text, ids]; versions.json says what wrote them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE: Final = Path(__file__).parent / "texts"
CORPUS: Final = [
    "The ship sailed, and the sailors sang of the sea; it's said they'd sung for 12 or 345 nights.",
    "def sail(ship, nights=12):\n    return [ship] * nights  # 345\n\n\n",
    "Über dem Meer \u2013 \u2018la mer\u2019 \u2013 steht ein großer Stern. 漢字かな 한국",
] * 3
TEXTS: Final = [
    "The sailors sang.", " of the sea", "  two  spaces ", "it's 12345", "a\n\nb\t c", "<s>the ship</s> sang", "",
    "</s>",
    "Über 漢字 e\u0301", "IT'S they'D",
]  # fmt: skip
_EDGES: Final = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def byte_pairs() -> Tokenizer:
    """Qwen2's kind, trained on the corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=311, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def write_named(folder: Path) -> None:
    """tokenizer.json without added tokens, whose special ones are in the vocabulary and named beside it."""
    tokenizer = json.loads(byte_pairs().to_str())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {"<s>": len(vocabulary), "</s>": len(vocabulary) + 1}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "image_token": "<s>"}))


def write_template(folder: Path) -> None:
    """tokenizer.json whose template begins a text, with the truncation and padding that training left."""
    tokenizer = byte_pairs()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    first = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", first)])
    tokenizer.enable_truncation(max_length=5)
    tokenizer.enable_padding(length=29)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))


def write_merges(folder: Path) -> None:
    """Its special tokens listed with their ids."""
    first = len(write_vocabulary(folder))
    added = {str(first + i): {"content": token, "special": True} for i, token in enumerate(("<s>", "</s>"))}
    edges = dict.fromkeys(("unk_token", "eos_token", "pad_token"), "</s>")
    told = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "bos_token": None, **edges}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def write_vocabulary(folder: Path, *special: str) -> dict[str, int]:
    """vocab.json and merges.txt."""
    model = json.loads(byte_pairs().to_str())["model"]
    vocabulary = model["vocab"] | {token: len(model["vocab"]) + i for i, token in enumerate(special)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = (one if isinstance(one, str) else " ".join(one) for one in model["merges"])
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    return vocabulary


def write_spaced(tokenizer_class: str) -> Callable[[Path], None]:
    """vocab.json that has the special tokens, which are only named; a space in front is asked for."""

    def write(folder: Path) -> None:
        first = len(write_vocabulary(folder, "<s>", "</s>"))
        ends = {"content": "</s>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
        told = {"tokenizer_class": tokenizer_class, "add_prefix_space": True, "add_bos_token": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(told))
        (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": ends}))
        (folder / "added_tokens.json").write_text(json.dumps({"IT": first, "<|endoftext|>": first + 1}))

    return write


def write_pieces(told: dict[str, Any], **training: Any) -> Callable[[Path], None]:
    """tokenizer.model, as sentencepiece trains it."""

    def write(folder: Path) -> None:
        import sentencepiece

        usual = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS), model_prefix=str(folder / "tokenizer"), vocab_size=397, model_type="bpe",
            num_threads=1, minloglevel=5, hard_vocab_limit=False, **(usual | training),
        )  # fmt: skip
        (folder / "tokenizer.vocab").unlink()
        (folder / "tokenizer_config.json").write_text(json.dumps(_EDGES | told))

    return write


CASES: Final[MappingProxyType[str, tuple[str, Callable[[Path], None]]]] = MappingProxyType({
    "template": ("llama", write_template),
    "qwen2-merges": ("qwen3", write_merges),
    "qwen2-spaced": ("qwen3", write_spaced("Qwen2Tokenizer")),
    "gpt2-spaced": ("gpt2", write_spaced("GPT2Tokenizer")),
    "template-named": ("llama", write_named),
    "llama-pieces": ("llama", write_pieces({"tokenizer_class": "LlamaTokenizer", "add_bos_token": True})),
    "mistral-pieces": ("mistral", write_pieces({"tokenizer_class": "LlamaTokenizer", "add_bos_token": True,
                                                "add_eos_token": True})),
    "gemma-pieces": ("gemma3_text", write_pieces(
        {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}, add_dummy_prefix=False,
        user_defined_symbols=["\u2581\u2581", "\n\n"],
    )),
    "named-pieces": ("mistral", write_pieces({"tokenizer_class": "LlamaTokenizer", "pad_token": "sh",
                                              "mask_token": "\u2013"})),
    "normalised-pieces": ("llama", write_pieces({}, normalization_rule_name="nmt_nfkc", remove_extra_whitespaces=True)),
})  # fmt: skip
"""By name: the model_type of config.json, and what writes the tokenizer's files."""


def write(folder: Path, case: str) -> None:
    """The tokenizer's files of a case."""
    folder.mkdir(parents=True, exist_ok=True)
    model_type, files = CASES[case]
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    files(folder)


def their_ids(folder: Path) -> list[tuple[str, list[int]]]:
    """What transformers makes of the texts, nothing cut off or filled up."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return [(text, tokenizer(text, truncation=False, padding=False)["input_ids"]) for text in TEXTS]


def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    for case in CASES:
        write(HERE / case, case)
        (HERE / case / "ids.json").write_text(json.dumps(their_ids(HERE / case)) + "\n")
    versions = {library.__name__: library.__version__ for library in (transformers, tokenizers)}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
