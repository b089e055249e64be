"""Markup that is safe by default: a plain string is text and gets escaped, only `Markup` passes as it is."""

from __future__ import annotations

import html
from collections.abc import Iterable

_CLOSE_THEMSELVES = {"path", "line", "circle", "rect"}


class Markup(str):
    """A piece of HTML or SVG."""


def safe(value: object) -> Markup:
    """`value` as text, or as it is where it is markup."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """All parts in a row."""
    return Markup(between.join(map(safe, parts)))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """`element("text", "N < 4", x=3, class_="end")` is `<text x="3" class="end">N &lt; 4</text>`.

    In names of attributes a trailing underscore goes and others are hyphens; None leaves an attribute out; numbers
    have one decimal, for they are pixels.
    """
    words = "".join(f' {_attribute(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    if name in _CLOSE_THEMSELVES and not children:
        return Markup(f"<{name}{words}/>")
    return Markup(f"<{name}{words}>{join(children)}</{name}>")


def px(value: float) -> str:
    """A tenth of a pixel is as fine as a picture gets."""
    return f"{value:.1f}".removesuffix(".0")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    return px(value) if isinstance(value, float) else html.escape(str(value))
