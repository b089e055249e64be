"""What tests that compile for gfx1201 share; another target's module has fixtures of its own by these names."""

from __future__ import annotations

import pytest

from eval.lowering.compile import Compiled, compile_for
from eval.lowering.programs import Program
from eval.lowering.target import target
from eval.lowering.toolchain import Toolchain, find_toolchain, plugin_path


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    plugin_path()  # without the plugin these tests fail, they do not pass by: only `make lower` asks for them
    return find_toolchain()


@pytest.fixture
def compiling(toolchain: Toolchain):
    def compiling(program: Program) -> Compiled:
        return compile_for(program, target("gfx1201"), toolchain)

    return compiling
