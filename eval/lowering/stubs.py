"""Do-nothing ROCm libraries: with them the compiler plugin loads where there is no ROCm, to compile and never to run.

The plugin is linked to the libraries of the ROCm runtime, which compiling does not need.  Whichever of them the loader
does not find is made here: one small C file and one version script per soname, holding the symbols that the plugin
leaves undefined.  Every function fails (no device), so that nothing can be taken for a run.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eval.lowering.folder import cache_folder

HIP_ERROR_NO_DEVICE: Final = 100
_RETURNS_TEXT: Final = re.compile(r"(?i)string|name$|GetLastError$")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Undefined:
    """A symbol that a shared object expects of another: where and in which version, "" where it does not say."""

    name: str
    soname: str
    version: str


def missing_libraries(plugin: Path) -> list[str]:
    """Sonames that the plugin is linked to and the loader does not find, in link order."""
    listed = subprocess.run(["ldd", str(plugin)], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise ValueError(f"{plugin}: not a shared object that this machine can load ({listed.stderr.strip()})")
    return re.findall(r"^\s*(\S+) => not found", listed.stdout, re.MULTILINE)


def stub_folder(plugin: Path, missing: Iterable[str]) -> Path:
    """A folder of do-nothing libraries for the `missing` sonames, made once for each plugin.

    Raises `ValueError` where there is no C compiler.
    """
    missing, state = tuple(missing), plugin.stat()
    made_for = (str(plugin), state.st_size, state.st_mtime_ns, missing)
    folder = cache_folder() / "stubs" / hashlib.sha256(repr(made_for).encode()).hexdigest()[:16]
    if not folder.exists():
        symbols = undefined_symbols(plugin)
        unversioned = {one.name for one in symbols if not one.soname} - _defined_by(_found_libraries(plugin))
        sources = {soname: library_source(soname, symbols) for soname in missing}
        sources[missing[0]] = library_source(missing[0], symbols, unversioned)
        _build(folder, sources)
    return folder


def undefined_symbols(plugin: Path) -> list[Undefined]:
    """The symbols that an ELF shared object must find elsewhere; weak ones, which may stay missing, left out."""
    from elftools.elf.elffile import ELFFile

    with plugin.open("rb") as file:
        section: Callable[[str], Any] = ELFFile(file).get_section_by_name
        table, versions, needed = section(".dynsym"), section(".gnu.version"), section(".gnu.version_r")
        homes = {
            aux["vna_other"]: (library.name, aux.name)
            for library, auxes in (needed.iter_versions() if needed else ())
            for aux in auxes
        }
        found = []
        for number, symbol in enumerate(table.iter_symbols()):
            if symbol["st_shndx"] != "SHN_UNDEF" or symbol["st_info"]["bind"] != "STB_GLOBAL":
                continue
            version = versions.get_symbol(number)["ndx"] if versions else 1
            found.append(Undefined(symbol.name, *homes.get(version, ("", ""))))
    return found


def library_source(soname: str, symbols: Iterable[Undefined], also: Iterable[str] = ()) -> tuple[str, str]:
    """C source and version script of the library `soname`: its symbols, and those in `also`, which carry no version."""
    by_version: dict[str, list[str]] = {}
    for one in symbols:
        if one.soname == soname:
            by_version.setdefault(one.version, []).append(one.name)
    plain = sorted(also)
    names = [*plain, *(name for version in sorted(by_version) for name in sorted(by_version[version]))]
    script = "".join(
        f"{version} {{ global: {' '.join(f'{name};' for name in sorted(by_version[version]))} }};\n"
        for version in sorted(by_version)
    )
    return "".join(map(_function, names)), script


def _function(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"the plugin wants a symbol that C cannot spell: {name!r}")
    if name == "hipGetDeviceCount":
        return f"int {name}(int *count) {{ *count = 0; return {HIP_ERROR_NO_DEVICE}; }}\n"
    if _RETURNS_TEXT.search(name):
        return f'const char *{name}(void) {{ return "do-nothing library: no ROCm on this machine"; }}\n'
    return f"int {name}(void) {{ return {HIP_ERROR_NO_DEVICE}; }}\n"


def _build(folder: Path, sources: Mapping[str, tuple[str, str]]) -> None:
    compiler = next((found for name in (os.environ.get("CC"), "cc", "gcc", "clang")
                     if name and (found := shutil.which(name))), None)  # fmt: skip
    if compiler is None:
        raise ValueError(
            "there is no ROCm here and no C compiler (cc, gcc or clang) to make do-nothing libraries in its place; "
            "install either"
        )
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    making.mkdir(parents=True, exist_ok=True)
    for soname, (source, script) in sources.items():
        (making / f"{soname}.c").write_text(source)
        command = [compiler, "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{soname}", "-o", soname]
        if script:
            (making / f"{soname}.map").write_text(script)
            command.append(f"-Wl,--version-script={soname}.map")
        made = subprocess.run([*command, f"{soname}.c"], cwd=making, capture_output=True, text=True, check=False)
        if made.returncode:
            raise ValueError(f"{compiler} could not make the do-nothing {soname}: {made.stderr.strip()[:500]}")
    try:
        making.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(making)


def _found_libraries(plugin: Path) -> list[Path]:
    listed = subprocess.run(["ldd", str(plugin)], capture_output=True, text=True, check=True)
    return [Path(path) for path in re.findall(r"=> (/\S+)", listed.stdout)]


def _defined_by(libraries: Iterable[Path]) -> set[str]:
    from elftools.elf.elffile import ELFFile

    names: set[str] = set()
    for path in libraries:
        with path.open("rb") as file:
            table: Any = ELFFile(file).get_section_by_name(".dynsym")
            names.update(symbol.name for symbol in table.iter_symbols() if symbol["st_shndx"] != "SHN_UNDEF")
    return names
