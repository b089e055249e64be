"""Do-nothing libraries in place of ones that are missing: they load, they fail, they shadow nothing that is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eval.lowering.stubs import HIP_ERROR_NO_DEVICE, missing_libraries, stub_folder, undefined_symbols

pytest.importorskip("elftools", reason="reads ELF files: pip install pyelftools")
if not shutil.which("cc") or not shutil.which("ldd"):
    pytest.skip("needs a C compiler and ldd", allow_module_level=True)

PLUGIN_C = """
int hipGetDeviceCount(int *); int hipMalloc(void **, unsigned long); const char *hipGetErrorString(int);
int plain_thing(void); double cos(double);
int count(void) { int n = 77; hipGetDeviceCount(&n); return n; }
int allocate(void) { void *p; return hipMalloc(&p, 8); }
const char *text(void) { return hipGetErrorString(0); }
int plain(void) { return plain_thing(); }
double own_cos(double x) { return cos(x); }
"""


def build(folder: Path, name: str, source: str, *options: str) -> None:
    (folder / f"{name}.c").write_text(source)
    command = ["cc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{name}", "-o", name, f"{name}.c"]
    subprocess.run([*command, *options], cwd=folder, check=True)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared object linked to two libraries that are then taken away, one of them with versions."""
    monkeypatch.setenv("PREFILLWALL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "hip.map").write_text("hip_4.2 { global: hipGetDeviceCount; hipMalloc; hipGetErrorString; };\n")
    hip = "int hipGetDeviceCount(int *n) {} int hipMalloc(void **p, unsigned long n) {} \
           const char *hipGetErrorString(int e) {}"
    build(tmp_path, "libtest-hip.so.7", hip, "-Wl,--version-script=hip.map")
    build(tmp_path, "libtest-plain.so.1", "int plain_thing(void) { return 1; }")
    build(tmp_path, "plugin.so", PLUGIN_C, "./libtest-hip.so.7", "./libtest-plain.so.1", "-lm")
    for gone in ("libtest-hip.so.7", "libtest-plain.so.1"):
        (tmp_path / gone).unlink()
    return tmp_path / "plugin.so"


def test_the_plugin_loads_and_everything_fails(plugin: Path) -> None:
    missing = missing_libraries(plugin)
    assert missing == ["libtest-hip.so.7", "libtest-plain.so.1"]
    folder = stub_folder(plugin, missing)
    program = f"""
import ctypes
plugin = ctypes.CDLL({str(plugin)!r})
plugin.text.restype, plugin.own_cos.restype = ctypes.c_char_p, ctypes.c_double
plugin.own_cos.argtypes = [ctypes.c_double]
print(plugin.count(), plugin.allocate(), plugin.plain(), plugin.own_cos(0.0), plugin.text().decode(), sep="|")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], env={"LD_LIBRARY_PATH": str(folder)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    count, allocate, plain, cosine, text = ran.stdout.strip().split("|")
    assert (count, allocate, plain) == ("0", str(HIP_ERROR_NO_DEVICE), str(HIP_ERROR_NO_DEVICE))
    assert float(cosine) == 1.0  # the real one: a symbol that some present library defines is left to it
    assert "no ROCm" in text


def test_versions_and_homes_are_read(plugin: Path) -> None:
    found = {one.name: (one.soname, one.version) for one in undefined_symbols(plugin)}
    assert found["hipMalloc"] == ("libtest-hip.so.7", "hip_4.2")
    assert found["plain_thing"] == ("", "")


def test_made_once(plugin: Path) -> None:
    first = stub_folder(plugin, missing_libraries(plugin))
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert stub_folder(plugin, missing_libraries(plugin)) == first
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before


def test_no_compiler_is_one_clear_line(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="no ROCm here and no C compiler"):
        stub_folder(plugin, ["libtest-hip.so.7"])


def test_what_is_no_shared_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("text")
    with pytest.raises(ValueError, match="not a shared object"):
        missing_libraries(tmp_path / "text.so")
