"""The cards that predictions are made for, with the source of every figure, and a user's own card from a TOML file.

Rates are dense (no structured sparsity); bf16 and f16 rates accumulate in float32.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from attention.regular_file import regular_file
from attention.unknown import unknown
from eval.cost import row_fields as fields
from eval.cost.file_errors import reason
from refmodel.words import brief

GIB: Final = 2**30
MIB: Final = 2**20
DTYPES: Final = ("bf16", "f16", "fp8", "int8", "int4", "f32")


@dataclass(frozen=True)
class SourcedValue:
    """A number and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class Card:
    """What a roofline needs to know of a card; an absent figure is absent, never guessed.

    Attributes:
        peak: FLOPs per second by dtype, see `DTYPES`.
        figures: `bandwidth_bytes_per_s`, `memory_bytes`, `l2_bytes`, `last_level_bytes`, `workgroup_bytes` (shared
            memory of one workgroup) and `lanes` (of a wave or warp).
        measured: figures that were measured and that the floor does not use, by what they are.
    """

    name: str
    title: str
    peak: Mapping[str, SourcedValue]
    figures: Mapping[str, SourcedValue]
    measured: Mapping[str, SourcedValue] = field(default_factory=lambda: MappingProxyType({}))

    def peak_flops_per_s(self, dtype: str = "bf16") -> float:
        """Peak rate of matrix products in `dtype`, or a `ValueError` that names the rates this card has."""
        if dtype not in self.peak:
            raise ValueError(
                f"card {self.name} has no peak rate for {dtype}; it has {', '.join(self.peak)}. "
                f"Give one in a TOML file: [peak_tflops] {dtype} = ..."
            )
        return self.peak[dtype].value

    def figure(self, name: str) -> float:
        """One of `figures`, or a `ValueError` that says how to supply it."""
        if name not in self.figures:
            raise ValueError(f"card {self.name} has no figure {name}; it has {', '.join(self.figures)}. "
                             f"Give it in a TOML file: {name} = ...")  # fmt: skip
        return self.figures[name].value

    @property
    def bandwidth_bytes_per_s(self) -> float:
        return self.figure("bandwidth_bytes_per_s")

    @property
    def memory_bytes(self) -> int:
        return int(self.figure("memory_bytes"))


CARD_FIELDS: Final = (
    "bandwidth_bytes_per_s", "memory_bytes", "l2_bytes", "last_level_bytes", "workgroup_bytes", "lanes",
)  # fmt: skip


def _card(
    name: str, title: str, peak: dict[str, SourcedValue], figures: dict[str, SourcedValue], **measured: SourcedValue
) -> Card:
    return Card(name, title, MappingProxyType(peak), MappingProxyType(figures), MappingProxyType(measured))


def _wmma_gfx12(compute_units: int, clock_hz: float, clock_source: str) -> dict[str, SourcedValue]:
    """Peaks of an RDNA4 card: v_wmma_f32_16x16x16 does 8,192 FLOP in 16 cycles on each of a unit's two SIMD pairs."""
    matrix = compute_units * 1024 * clock_hz
    source = f"derived: {compute_units} CU x 1,024 FLOP/clk (AMD matrix instruction calculator) x {clock_source}"
    return {
        "bf16": SourcedValue(matrix, source),
        "f16": SourcedValue(matrix, source),
        "fp8": SourcedValue(2 * matrix, source + ", twice the bf16 rate"),
        "int8": SourcedValue(2 * matrix, source + ", twice the bf16 rate"),
        "int4": SourcedValue(4 * matrix, source + ", four times the bf16 rate"),
        "f32": SourcedValue(compute_units * 256 * clock_hz, f"derived: vector units, 256 FLOP/clk/CU x {clock_source}"),
    }


def _half(value: float, source: str) -> dict[str, SourcedValue]:
    return {"bf16": SourcedValue(value, source), "f16": SourcedValue(value, source)}


def _hopper(chip: str) -> dict[str, SourcedValue]:
    """Peaks of an SXM module with an H100's tensor cores."""
    sheet = f"NVIDIA {chip} data sheet, dense"
    eight = SourcedValue(1979e12, f"{sheet}: twice the bf16 rate")
    return _half(989e12, sheet) | {"fp8": eight, "int8": eight}


def _memory(
    gb_per_s: float, memory_gib: float | None, source: str, l2_mib: float = 0, last_level_mib: float = 0
) -> dict[str, SourcedValue]:
    """The figures that a vendor's page gives; capacities in binary units, as the driver reports them."""
    figures = {"bandwidth_bytes_per_s": SourcedValue(gb_per_s * 1e9, source)}
    for name, size, unit in (
        ("memory_bytes", memory_gib, GIB), ("l2_bytes", l2_mib, MIB), ("last_level_bytes", last_level_mib, MIB)
    ):  # fmt: skip
        if size:
            figures[name] = SourcedValue(int(size * unit), source)
    return figures


_GFX12_TABLES: Final = "ROCm GPU architecture tables"

CARDS: Final[Mapping[str, Card]] = MappingProxyType({card.name: card for card in (
    _card(
        "r9700", "Radeon AI PRO R9700 (gfx1201)",
        _wmma_gfx12(64, 2.92e9, "2.92 GHz boost (AMD product page)"),
        {
            "bandwidth_bytes_per_s": SourcedValue(640e9, "AMD product page: 256 bit x 20 Gbit/s GDDR6"),
            "memory_bytes": SourcedValue(34_208_743_424, "device memory that the ROCm driver reports (32 GB GDDR6)"),
            "l2_bytes": SourcedValue(8 * MIB, _GFX12_TABLES),
            "last_level_bytes": SourcedValue(64 * MIB, _GFX12_TABLES),
            "workgroup_bytes": SourcedValue(64 * 1024, _GFX12_TABLES + ": LDS of one workgroup"),
            "lanes": SourcedValue(32, "HIP compiles wave32 for gfx12"),
        },
        gemm_bf16_flops_per_s=SourcedValue(133e12, "PyTorch, 4096 cubed, on an RX 9070 XT"),
        attention_flops_per_s=SourcedValue(83e12, "Triton flash attention, head 128, 8k-16k: ROCm/aiter#2397"),
        bandwidth_bytes_per_s=SourcedValue(
            595e9, "mat-vec that misses the caches: TheRealBluesun/llama.cpp-r9700-tuning"
        ),
    ),
    _card(
        "rx-9070-xt", "Radeon RX 9070 XT (gfx1201)",
        _wmma_gfx12(64, 2.97e9, "2.97 GHz boost (AMD product page)"),
        _memory(640, 16, "AMD product page; caches: " + _GFX12_TABLES, 8, 64),
    ),
    _card(
        "rx-7900-xtx", "Radeon RX 7900 XTX (gfx1100)",
        _half(122.8e12, "AMD product page, peak half-precision matrix rate"),
        _memory(960, 24, "AMD product page; caches: ROCm GPU architecture tables", 6, 96),
    ),
    _card(
        "w7900", "Radeon PRO W7900 (gfx1100)",
        _half(122.6e12, "AMD product page, peak half-precision matrix rate"),
        _memory(864, 48, "AMD product page; caches: ROCm GPU architecture tables", 6, 96),
    ),
    _card(
        "strix-halo", "Ryzen AI Max, Radeon 8060S (gfx1151)",
        _half(40 * 512 * 2.9e9, "derived: 40 CU x 512 FLOP/clk (gfx11 WMMA) x 2.9 GHz (AMD product page)"),
        _memory(256, None, "AMD product page: 256 bit LPDDR5X-8000; the memory is shared with the CPU"),
        bandwidth_bytes_per_s=SourcedValue(212e9, "published GPU copy measurements"),
    ),
    _card(
        "mi300x", "Instinct MI300X (gfx942)",
        _half(1307e12, "AMD data sheet, dense"),
        _memory(5300, 192, "AMD data sheet; caches: ROCm GPU architecture tables", 32, 256),
    ),
    _card(
        "rtx-4090", "GeForce RTX 4090 (sm89)",
        _half(165.2e12, "NVIDIA Ada architecture whitepaper, FP16 with FP32 accumulation, dense"),
        _memory(1008, 24, "NVIDIA Ada architecture whitepaper", 72),
    ),
    _card(
        "rtx-5090", "GeForce RTX 5090 (sm120)",
        _half(209.5e12, "NVIDIA RTX Blackwell architecture whitepaper, FP16 with FP32 accumulation, dense"),
        _memory(1792, 32, "NVIDIA RTX Blackwell architecture whitepaper", 96),
    ),
    _card(
        "h100-sxm", "H100 SXM (sm90)",
        _hopper("H100"),
        _memory(3350, 80, "NVIDIA H100 data sheet", 50),
        gemm_bf16_flops_per_s=SourcedValue(760e12, "JAX, 8192 cubed, measured for this project"),
    ),
    _card(
        "h200", "H200 SXM (sm90)",
        _hopper("H200"),
        _memory(4800, 141, "NVIDIA H200 data sheet", 50),
        gemm_bf16_flops_per_s=SourcedValue(790e12, "JAX, 8192 cubed, measured for this project"),
    ),
    _card("tpu-v5e", "TPU v5e", {"bf16": SourcedValue(197e12, "Google Cloud TPU v5e documentation")},
          _memory(819, 16, "Google Cloud TPU v5e documentation")),
)})  # fmt: skip


def card(name: str | Path) -> Card:
    """The named card, or the one that a TOML file describes; a `ValueError` lists what is accepted.

    A TOML file holds `name`, any of `CARD_FIELDS`, and a table `peak_tflops` with an entry per dtype.
    """
    if str(name).endswith(".toml"):
        return _from_toml(Path(name))
    if name not in CARDS:
        raise ValueError(f"{unknown('card', str(name), CARDS)}, or a .toml file")
    return CARDS[str(name)]


def card_of_device(device_kind: str) -> Card | None:
    """The card that JAX calls `device_kind` ("NVIDIA H100 80GB HBM3"), None for one that is not in `CARDS`."""
    words = {"H100 80GB HBM3": "h100-sxm", "H200": "h200", "R9700": "r9700", "9070 XT": "rx-9070-xt",
             "7900 XTX": "rx-7900-xtx", "W7900": "w7900", "MI300X": "mi300x", "RTX 4090": "rtx-4090",
             "RTX 5090": "rtx-5090", "TPU v5 lite": "tpu-v5e"}  # fmt: skip
    return next((CARDS[name] for word, name in words.items() if word in device_kind), None)


def _from_toml(path: Path) -> Card:
    import tomllib  # here, for only a card of one's own is a file

    regular_file(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable TOML card ({reason(error)})") from error
    name, peaks = values.pop("name", path.stem), values.pop("peak_tflops", {})
    if not isinstance(peaks, dict) or not peaks:
        raise ValueError(f"{path}: a card needs a table [peak_tflops] with at least one of {', '.join(DTYPES)}")
    try:
        fields.text("name", name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    peak = _checked(path, "peak_tflops", peaks, DTYPES)
    return _card(
        name, name, {dtype: SourcedValue(value * 1e12, str(path)) for dtype, value in peak.items()},
        {key: SourcedValue(value, str(path)) for key, value in _checked(path, "card", values, CARD_FIELDS).items()},
    )  # fmt: skip


def _checked(path: Path, table: str, values: dict[str, Any], accepted: tuple[str, ...]) -> dict[str, float]:
    for key, value in values.items():
        if key not in accepted:
            raise ValueError(f"{path}: {table} has no {reprlib.repr(key)}; accepted: {', '.join(accepted)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise ValueError(f"{path}: {key} must be a finite number above 0, got {brief(value)}")
    return values
