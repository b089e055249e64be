"""The examples in docstrings run, and every entry point has one."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

import attention
import eval as prefillwall
import eval.testing
import refmodel
import refmodel.model
from tests.printed import modules_with_examples

PACKAGES = (attention, refmodel, prefillwall)
ENTRIES = [
    *(getattr(package, name) for package in PACKAGES for name in package.__all__),
    *(getattr(eval.testing, name) for name in dir(eval.testing) if name.startswith("assert_")),
    refmodel.model.prefill,
]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_run(name: str, fast_compile, capsys) -> None:
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testmod(module, optionflags=flags)
    assert found.attempted and not found.failed, capsys.readouterr().out


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.__module__}.{entry.__name__}")
def test_every_entry_point_has_an_example(entry) -> None:
    own = [entry, *(vars(entry).values() if inspect.isclass(entry) else ())]
    assert any(">>> " in (inspect.getdoc(one) or "") for one in own)


def test_an_example_that_is_wrong_is_found() -> None:
    def wrong() -> None:
        """
        >>> 1 + 1
        3
        """

    (example,) = doctest.DocTestFinder().find(wrong, "wrong", globs={})
    assert doctest.DocTestRunner(verbose=False).run(example, out=lambda _: None).failed == 1
