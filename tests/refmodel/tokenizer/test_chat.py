"""Chat templates: where they are, and what comes of them."""

from __future__ import annotations

import json
import sys

import pytest

from refmodel.default_model import DEFAULT_MODEL, default_gguf
from refmodel.fields import Fields
from refmodel.tokenizer.chat import ChatTemplate, gguf_template
from refmodel.tokenizer.folder import folder_template

TURNS = """{{ bos_token }}{%- for turn in messages %}
    {%- if loop.index0 == 7 %}{% break %}{% endif %}
<{{ turn['role'] }}>{{ turn.content | trim }}
    {%- generation -%}  {%- endgeneration %}
{%- endfor %}
{% if add_generation_prompt and not tools %}
<assistant>
{% endif %}"""
TOKENS = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, {"bos_token": "<s>"}, "here")


def test_a_turn_is_put_into_a_template():
    pytest.importorskip("jinja2")
    assert template(TURNS).around(" <b> & ü ") == "<s><user><b> & ü<assistant>\n"
    assert template("{{ messages | tojson }}").around('"ü') == '[{"role": "user", "content": "\\"ü"}]'
    assert len(template("{{ strftime_now('%Y') }}").around("x")) == 4


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ raise_exception('no turns\n of users') }}", "no turns of users"),
        ("{% if %}", "Expected an expression"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
        ("{% include 'x' %}", "no loader for this environment specified"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ range(10**9) }}", "Range too big"),
        ("{{ 'ab' * 1000003 }}", "a repetition of 2,000,006 items; accepted: at most 1,048,576"),
        ("{{ 1000003 * [1, 2] }}", "a repetition of 2,000,006 items; accepted: at most 1,048,576"),
        ("{{ 2 ** 1000003 }}", "a power of 2,000,006 bits; accepted: at most 1,048,576"),
        ("{% set x = 3 ** 400009 %}{{ x * x }}", "a product of 1,268,000 bits; accepted: at most 1,048,576"),
        ("{{ 5 | wordwrap }}", "'int' object has no attribute 'splitlines'"),
        ("{{ cycler() }}", "at least one item has to be provided"),
        ("{{ messages(a=1, a=2) }}", "keyword argument repeated"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_one_line(source, said):
    pytest.importorskip("jinja2")
    with pytest.raises(ValueError, match=rf"^here: its chat template cannot be rendered \(.*{said}") as refusal:
        template(source).around("hi")
    assert "\n" not in str(refusal.value)


def test_memory_that_a_template_wants_and_there_is_none_of_is_one_line(monkeypatch):
    pytest.importorskip("jinja2")

    def none_left(form: str) -> str:
        raise MemoryError

    monkeypatch.setattr("refmodel.tokenizer.chat._now", none_left)
    with pytest.raises(ValueError, match=r"^here: its chat template cannot be rendered \(MemoryError\)$"):
        template("{{ strftime_now('%Y') }}").around("hi")


def test_small_products_and_powers_are_computed():
    pytest.importorskip("jinja2")
    assert template("{{ '-' * 3 }}{{ 2 * [5] }}{{ 7 * 3 }} {{ 2 ** 10 }} {{ 2 ** -1 * 3.0 }}").around("x") == (
        "---[5, 5]21 1024 1.5"
    )
    assert template("{{ ('a' * 2**20) | length }}{{ 10 ** 3 }}").around("x") == "10485761000"


def test_a_missing_jinja_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2.sandbox", None)
    with pytest.raises(ValueError, match=r"^here: its chat template needs `pip install jinja2`$"):
        template(TURNS).around("hi")


def test_a_folder_has_it_in_a_file_of_its_own_or_in_its_settings(tmp_path):
    assert folder_template(tmp_path) is None
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps(TOKENS))
    assert folder_template(tmp_path) is None
    several = [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]
    for told, source in (("c", "c"), (several, "b")):
        settings.write_text(json.dumps(TOKENS | {"chat_template": told}))
        found = folder_template(tmp_path)
        assert (found.source, found.tokens, found.where) == (
            source, {"bos_token": "<s>", "eos_token": "</s>"}, str(settings)
        )  # fmt: skip
    (tmp_path / "chat_template.jinja").write_text("d", encoding="utf-8")
    found = folder_template(tmp_path)
    assert (found.source, found.where) == ("d", str(tmp_path / "chat_template.jinja"))


@pytest.mark.parametrize("told", [5, True, [{"name": "default", "template": 5}]])
def test_what_is_no_template_is_refused(told, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": told}))
    with pytest.raises(ValueError, match=r"tokenizer_config.json: chat_template is .*; accepted: a text, or a list"):
        folder_template(tmp_path)


def test_a_gguf_file_has_it_among_its_settings():
    tokens = {"tokenizer.ggml.tokens": ["<s>", "</s>"], "tokenizer.ggml.bos_token_id": 0}
    assert gguf_template(Fields(tokens, "x.gguf")) is None
    for end, named in ((1, {"bos_token": "<s>", "eos_token": "</s>"}), (2, {"bos_token": "<s>"})):
        told = tokens | {"tokenizer.chat_template": TURNS, "tokenizer.ggml.eos_token_id": end}
        assert gguf_template(Fields(told, "x.gguf")) == ChatTemplate(TURNS, named, "x.gguf")
    with pytest.raises(ValueError, match=r"x.gguf: tokenizer.chat_template must be of type str"):
        gguf_template(Fields({"tokenizer.chat_template": 5}, "x.gguf"))


def test_the_default_model_was_trained_with_turns():
    pytest.importorskip("jinja2")
    try:
        default_gguf()
    except ValueError as error:
        pytest.skip(str(error))
    from refmodel.checkpoint.find import find_checkpoint

    text = find_checkpoint(DEFAULT_MODEL).chat_template().around("Hi")
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
