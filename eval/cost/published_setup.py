"""What a published row says of how it was run: build, attention kernel, BLAS, micro-batch, machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eval.cost import row_fields as fields

DEFAULT_MICRO_BATCH: Final = 512
"""llama.cpp's `n_ubatch`."""

WHOLE_PROMPT: Final = 1 << 30
"""Of engines other than llama.cpp, of which nothing else is known."""

LONG_MICRO_BATCH: Final = 2048
"""Of the toolboxes' runs at depth on ROCm, where their notes do not say it (those that do say so, all)."""

_BITS: Final = (
    (r"F32", 32.0), (r"BF16|F16", 16.0), (r"FP8", 8.0), (r"Q8_K_XL", 9.0), (r"Q8", 8.5), (r"Q6", 6.6), (r"Q5", 5.7),
    (r"Q4_0", 4.6), (r"MXFP4", 4.7), (r"Q4K?_?K?|4bit", 4.85), (r"Q3", 3.8), (r"Q2", 3.0),
)  # fmt: skip
"""Bits of a weight by what a quantisation's name contains, embeddings and scales included, from the files' sizes."""

UNKNOWN_BITS: Final = 4.85
"""Most published files are Q4_K_M."""


@dataclass(frozen=True)
class Setup:
    """How a row was run.

    Attributes:
        backend: "ROCm" or "Vulkan".
        stack: the compiler or driver: "rocm-7.9", "radv".
        attention: the attention kernel that was asked for: "rocwmma", or "plain".
        blas: "hipblaslt" unless it was switched off.
        engine: llama.cpp or another.
        build: of the engine, as exactly as the row tells.
        micro_batch: tokens that one pass over the weights takes at most.
        cards: how many.
        run: the file or page that the row is from.
    """

    backend: str
    stack: str
    attention: str
    blas: str
    engine: str
    build: str
    micro_batch: int
    cards: int
    run: str


def setup_of(row: Mapping[str, str], depth: int) -> Setup:
    """From a row of the table.  Raises `ValueError` for a backend that nothing is known of."""
    notes, engine = row["notes"], row["engine"].split(" ")[0] or "llama.cpp"
    options, backend = toolbox_options(row["source"]), _backend(row["backend"])
    stack, attention = _stack(row, options[0] if options else "", backend)
    return Setup(
        backend, stack, attention, "plain" if "hblt0" in options else "hipblaslt", engine, _build(row),
        _micro_batch(notes, engine, at_depth=bool(options and depth and backend == "ROCm")),
        _cards(row["device"]), f"{row['source']} {row['engine']}",
    )  # fmt: skip


def toolbox_options(source: str) -> list[str]:
    """Of a log of the toolboxes, owner/name@commit:folder/model__stack__options__longctxN__cards.log; else none."""
    found = re.fullmatch(r"[^@]+@\w+:.*?([^/]*)\.log", source)
    return found[1].split("__")[1:] if found else []


def _backend(told: str) -> str:
    """ "ROCm" of ROCm and HIP, or "Vulkan"."""
    found = re.search(r"(vulkan)|rocm|hip", told, re.IGNORECASE)
    if not found:
        raise ValueError(f"no backend {told!r}: rates are predicted of ROCm (HIP) and Vulkan; leave other rows out")
    return "Vulkan" if found[1] else "ROCm"


def _cards(device: str) -> int:
    """Of "2x R9700"."""
    found = re.match(r"([0-9]+)x ", device)
    return fields.whole("device", found[1], 1, 1024) if found else 1


def bits_of(quant: str, model: str) -> float:
    """Bits of a stored weight."""
    return next((bits for pattern, bits in _BITS if re.search(pattern, quant, re.IGNORECASE)), _unnamed(model))


def repeat_error(notes: str, tokens_per_s: float) -> float:
    """The published deviation of repeated runs over their mean; 0 where there is none."""
    found = re.search(r"\+-([0-9]+(?:\.[0-9]+)?)", notes)
    return fields.number("the deviation +-", found[1], 0, fields.MOST_RATE) / tokens_per_s if found else 0.0


def _unnamed(model: str) -> float:
    """A file named F32 keeps some tensors so and the rest in 16 bits (gpt-oss-20b-F32: 41.9 GB)."""
    return 16.0 if model.endswith(("F32", "F16")) else UNKNOWN_BITS


def _stack(row: Mapping[str, str], option: str, backend: str) -> tuple[str, str]:
    if option:
        stack = option.removeprefix("vulkan_").removesuffix("-rocwmma").removesuffix("-mmf")
        return stack, "rocwmma" if option.endswith("-rocwmma") else "plain"
    if backend == "Vulkan":
        words = row["backend"] + row["notes"]
        return ("amdvlk" if "AMDVLK" in words else "radv"), "plain"
    version = re.search(r"ROCm (\d+\.\d+)", f"{row['backend']} {row['notes']}")
    return f"rocm-{version[1] if version else ''}", "rocwmma" if "rocWMMA" in row["notes"] else "plain"


def _build(row: Mapping[str, str]) -> str:
    found = re.search(r"build \w+ \((\d+)\)", row["notes"]) or re.search(r"llama\.cpp (\w+)", row["notes"])
    return f"{row['engine']} {found[1]}" if found else f"{row['engine']} {row['source']}"


def _micro_batch(notes: str, engine: str, at_depth: bool) -> int:
    """As noted; else llama.cpp's default; another engine takes a prompt whole."""
    found = re.search(r"(?:n_ubatch=|\bub=?|-ub )([0-9]+)", notes)
    if found:
        return fields.whole("the micro-batch", found[1], 1)
    if engine != "llama.cpp":
        return WHOLE_PROMPT
    return LONG_MICRO_BATCH if at_depth else DEFAULT_MICRO_BATCH
