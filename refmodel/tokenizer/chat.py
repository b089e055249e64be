"""Chat templates: how a model was trained to see a user's turn, as its files say it in Jinja."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from refmodel.fields import Fields
from refmodel.words import reason

_GENERATION: Final = re.compile(r"{%([-+]?)\s*(end)?generation\s*([-+]?)%}")
"""Tags of transformers' own around what the model said itself, for training."""

_MOST: Final = 2**20
"""Items of a repetition, and bits of a product or power."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template.

    Attributes:
        source: in Jinja.
        tokens: the texts of special tokens under the names that templates have for them: `bos_token`.
        where: the file, for messages.
    """

    source: str
    tokens: Mapping[str, str]
    where: str

    def around(self, text: str) -> str:
        """A user's turn with `text`, up to where the answer begins; first tokens that the template wants are in it.

        Rendered as transformers does (`apply_chat_template`), in Jinja's sandbox: nothing leads out of a template to
        files or to Python, and no product or power is large.  Some templates write the day's date.

        Raises `ValueError` where jinja2 is missing, and for a template that cannot be read, fails or refuses.
        """
        try:
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as error:
            raise ValueError(f"{self.where}: its chat template needs `pip install jinja2`") from error
        source = _GENERATION.sub(lambda tag: f"{{%{tag[1]} {'endif' if tag[2] else 'if true'} {tag[3]}%}}", self.source)
        jinja = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        jinja.intercepted_binops = frozenset({"*", "**"})
        jinja.binop_table |= {"*": _product, "**": _power}
        jinja.filters["tojson"] = _to_json
        jinja.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        turns = [{"role": "user", "content": text}]
        try:
            return jinja.from_string(source).render(
                messages=turns, tools=None, documents=None, add_generation_prompt=True, **self.tokens
            )
        except Exception as error:  # a MemoryError or a SyntaxError of the Python that Jinja makes, too
            raise ValueError(f"{self.where}: its chat template cannot be rendered ({reason(error)})") from error


def gguf_template(metadata: Fields) -> ChatTemplate | None:
    """Of `tokenizer.chat_template`; None where a file has none."""
    source = metadata.get("tokenizer.chat_template", str, None)
    if source is None:
        return None
    texts, tokens = metadata.get("tokenizer.ggml.tokens", list, []), {}
    for name in ("bos", "eos"):
        number = metadata.values.get(f"tokenizer.ggml.{name}_token_id")
        if type(number) is int and 0 <= number < len(texts):
            tokens[f"{name}_token"] = str(texts[number])
    return ChatTemplate(source, tokens, metadata.where)


def _to_json(value: Any, **how: Any) -> str:
    """As templates expect it: letters as they are, and nothing escaped for HTML."""
    return json.dumps(value, **{"ensure_ascii": False, **how})


def _product(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _refuse_beyond(left.bit_length() + right.bit_length(), "product of {:,} bits")
    for items, times in ((left, right), (right, left)):
        if isinstance(items, Sized) and isinstance(times, int):
            _refuse_beyond(len(items) * times, "repetition of {:,} items")
    return left * right


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int):
        _refuse_beyond(base.bit_length() * exponent, "power of {:,} bits")
    return base**exponent


def _refuse_beyond(size: int, words: str) -> None:
    if size > _MOST:
        raise ValueError(f"a {words.format(size)}; accepted: at most {_MOST:,}")


def _refuse(said: str) -> NoReturn:
    raise ValueError(said)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)
