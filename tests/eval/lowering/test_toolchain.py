"""What is said where the plugin is missing or does not fit, and the environment of the child."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import tomllib
from pathlib import Path

import pytest

from eval.lowering import amd, toolchain
from eval.lowering.amd import AMD
from eval.lowering.nvidia import NVIDIA
from eval.lowering.toolchain import Toolchain, find_toolchain, plugin_path
from eval.lowering.vendor import Vendor
from tests.printed import ROOT, blocks


@pytest.mark.parametrize("vendor", [AMD, NVIDIA])
def test_a_missing_plugin_says_what_the_page_says(monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="not in this environment") as raised:
        plugin_path(vendor)
    (words,) = (block for block in blocks("docs/lowering.md", "sh") if "venv-lower" in block)
    install, call, *_ = words.splitlines()
    assert install in str(raised.value) and call.partition(" --")[0] in str(raised.value)
    extras = re.search(r"\[(.*)\]", install)[1].split(",")
    accepted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(vendor.packages[0] in package for extra in extras for package in accepted[extra])


def test_a_plugin_for_another_jaxlib_says_which_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"jax": "0.12.0.1", "jaxlib": "0.12.0.1", "jax-rocm7-pjrt": "0.10.2"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    monkeypatch.setattr(toolchain, "plugin_path", lambda vendor: Path("plugin.so"))
    with pytest.raises(ValueError, match=r"does not fit jaxlib 0\.12\.0\.1: .*jax-rocm7-pjrt==0\.12\.0 "):
        find_toolchain()


def test_a_patched_jaxlib_takes_the_plugin_of_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"jax": "0.12.0.1", "jaxlib": "0.12.0.1", "jax-rocm7-pjrt": "0.12.0"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    monkeypatch.setattr(toolchain, "plugin_path", lambda vendor: Path("plugin.so"))
    monkeypatch.setattr(amd, "missing_libraries", lambda plugin: [])
    found = find_toolchain()
    assert found.can_execute and "ROCm of this machine" in found.sentence


def test_the_child_never_sees_a_device_and_finds_the_stand_ins_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    versions = {"jax": "0.10.2", "jaxlib": "0.10.2", "jax-rocm7-pjrt": "0.10.2"}
    stubbed = Toolchain(AMD, Path("plugin.so"), versions, ("libamdhip64.so.7",), Path("/stubs"))
    environment = stubbed.environment(Path("/out"))
    assert environment["LD_LIBRARY_PATH"] == "/stubs:/elsewhere"
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert environment["PATH"] == os.environ["PATH"]
    assert "cannot execute" in stubbed.sentence and not stubbed.can_execute


def test_without_a_driver_nothing_executes() -> None:
    versions = {"jax": "0.10.2", "jaxlib": "0.10.2", "jax-cuda12-pjrt": "0.10.2"}
    absent, present = (Toolchain(NVIDIA, Path("plugin.so"), versions, missing) for missing in (("libcuda.so.1",), ()))
    assert not absent.can_execute and "cannot execute" in absent.sentence
    assert present.can_execute and "cannot execute" not in present.sentence
