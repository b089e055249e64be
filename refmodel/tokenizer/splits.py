"""How text is cut into words before byte pairs are merged: the pre-tokenizers that GGUF files name.

A file names one (`tokenizer.ggml.pre`); what the names stand for is llama.cpp's table (src/llama-vocab.cpp), whose
patterns are those of the models' own tokenizer.json.  Each pattern cuts every piece that the one before left: matches
and what is between them become pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence
from tokenizers.pre_tokenizers import Split as SplitBy

_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES: Final = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_CHINESE: Final = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_CJK: Final = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEADING: Final = r"[^\r\n\p{L}\p{N}]?"
_PUNCTUATION: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_WORDS: Final = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"


def _words(digits: str, letters: str = r"\p{L}+") -> str:
    return f"{_CONTRACTIONS}|{_LEADING}{letters}|{digits}|{_PUNCTUATION}|{_SPACES}"


def _cased(digits: str, ending: str = "") -> str:
    """Words also end where a capital follows a small letter."""
    cased = f"{_LEADING}{_UPPER}*{_LOWER}+{ending}|{_LEADING}{_UPPER}+{_LOWER}*{ending}"
    return rf"{cased}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"


@dataclass(frozen=True)
class Split:
    """A pre-tokenizer.

    Attributes:
        patterns: in the order in which they cut.
        whole_words: a word that is a token is one, whatever the merges say.
        begins: whether a text begins with the token for that, where the file does not say.
        composed: whether characters are composed first (NFC), as the models' own tokenizer does.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    begins: bool = False
    composed: bool = False

    @property
    def pre_tokenizer(self) -> PreTokenizer:
        return self._then(ByteLevel(add_prefix_space=False, use_regex=False))

    @property
    def spaced(self) -> PreTokenizer:
        """With a space in front of what has none (`add_prefix_space`), as transformers has it: of each piece, but of
        the whole stretch where GPT-2's pattern is the only one."""
        if self.patterns == (_GPT2,):
            return ByteLevel(add_prefix_space=True)
        return self._then(ByteLevel(add_prefix_space=True, use_regex=False))

    def _then(self, last: PreTokenizer) -> PreTokenizer:
        return Sequence([*(SplitBy(Regex(pattern), "isolated") for pattern in self.patterns), last])


_DEFAULT: Final = Split((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))
_PLAIN: Final = Split((_GPT2,))
_DIGITS: Final = Split((r"\p{N}", _GPT2))
_LLAMA3: Final = Split((_words(r"\p{N}{1,3}"),), whole_words=True, begins=True)
_THREE_DIGITS: Final = Split((_words(r"\p{N}{1,3}"),))
_QWEN2: Final = Split((_words(r"\p{N}"),), composed=True)
_ONE_DIGIT: Final = Split((_words(r"\p{N}"),))
_DEEPSEEK3: Final = Split((
    r"\p{N}{1,3}", _CJK,
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|" + _SPACES,
))  # fmt: skip
_GPT4O: Final = Split((_cased(r"\p{N}{1,3}", f"{_CONTRACTIONS}?"),))

SPLITS: Final[MappingProxyType[str, Split]] = MappingProxyType({
    "default": _DEFAULT,
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4"), _PLAIN),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _DIGITS),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2"), _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), _THREE_DIGITS),
    "qwen2": _QWEN2,
    **dict.fromkeys(("deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"), _ONE_DIGIT),
    "qwen35": Split((
        f"{_CONTRACTIONS}|{_LEADING}[\\p{{L}}\\p{{M}}]+|\\p{{N}}| ?[^\\s\\p{{L}}\\p{{M}}\\p{{N}}]+[\\r\\n]*|{_SPACES}",
    ), composed=True),
    "deepseek-coder": Split((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CHINESE, r"\p{N}")),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), _DEEPSEEK3),
    "falcon": Split((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "tekken": Split((_cased(r"\p{N}"),), whole_words=True, begins=True),
    **dict.fromkeys(("gpt-4o", "llama4", "minimax-m2"), _GPT4O),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), Split((_WORDS,))),
    "viking": Split((_WORDS, r"\p{N}")),
    "seed-coder": Split((
        f"{_CONTRACTIONS}|{_LEADING}\\p{{L}}+|\\p{{N}}| ?[^\\s\\p{{L}}\\p{{N}}\\r\\n]+|{_SPACES}",
    )),
})  # fmt: skip
"""By name.  `deepseek-llm`, whose pattern lists every letter of some scripts, and rarer ones are not here."""
