"""`--plugin FILE`: a Python file of the user's own, imported before the other words of a command line are read.

What it registers (`attention.register`: variants, policies, routers; backends, metrics, figures and weight formats by
their registries) is known to layout strings and to every command.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from refmodel.paths import is_there, path_named

OPTION = "--plugin"


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """The option as a command's help shows it; `load_plugins` has read it by then."""
    parser.add_argument(
        OPTION, action="append", default=[], metavar="FILE",
        help="a Python file that registers things of your own: variants, policies, routers, backends, ...; repeatable",
    )  # fmt: skip


def load_plugins(words: Sequence[str]) -> None:
    """Imports the files that a command line names.  Raises `ValueError` in one line that names the file."""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        option, is_joined, value = word.partition("=")
        is_short = len(option) > len("--") and OPTION.startswith(option)  # as argparse takes it
        if is_short and (is_joined or following):
            load_plugin(value if is_joined else following)


def load_plugin(word: str) -> None:
    """Imports a file, once in a process.  Raises `ValueError` in one line."""
    path = (path_named(word) or Path(word)).resolve()
    name = f"plugin {path}"  # where dataclasses look a class's module up
    if name in sys.modules:
        return
    if path.suffix != ".py" or not is_there(path) or not path.is_file():
        fault = "not a Python file" if is_there(path) else "no such file"
        raise ValueError(f"{OPTION} {word}: {fault}; a Python file is wanted")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a file that ends Python would end the command without a word
        del sys.modules[name]
        raise ValueError(f"{OPTION} {word}: {_where(error, path)}{type(error).__name__}: {error}") from error


def _where(error: BaseException, path: Path) -> str:
    """The last line of the file that led there."""
    if isinstance(error, SyntaxError):
        return ""  # its message has the line
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""
