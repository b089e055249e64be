"""What llama-bench prints (`-o csv`, `json`, `jsonl`, `md`), as rows of a table of rates."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from eval.cost.published_models import model_of
from eval.cost.published_setup import DEFAULT_MICRO_BATCH
from refmodel.presets import PRESETS

Row = dict[str, str]

_ARCHITECTURES: Final = MappingProxyType({
    "qwen3moe": "qwen3", "qwen3next": "qwen3-next", "qwen35moe": "qwen3.5", "nemotron_h_moe": "nemotron-3-nano",
    "mistral3": "ministral-3",
})  # fmt: skip
"""llama.cpp's names of architectures, where a model's own begins otherwise."""

_FILE_ENDS: Final = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$", re.IGNORECASE)
_DESCRIBED: Final = re.compile(r"(?P<family>\S+) (?P<size>[\d.]+[BM](?:\.A[\d.]+B)?) (?P<quant>.+)")
_MARKDOWN: Final = ("model", "test", "t/s")
_RECORD: Final = ("model_type", "n_prompt", "n_gen", "avg_ts")
"""Of each of its CSV and JSON records."""


def bench_rows(text: str, source: str) -> list[Row] | None:
    """The rows of one of its outputs, named by `source`; None for a text that is none of them.

    A test that mixes a prompt with generated tokens (`-pg`) is left out: its time is of both.
    """
    lines = text.splitlines()
    if text.lstrip()[:1] in ("[", "{"):
        records = _json_records(text)
    elif any(line.startswith("|") for line in lines):
        records = _markdown_records(lines)
    else:
        records = list(csv.DictReader(lines, restval=""))
    if not records or not all(isinstance(one, Mapping) and set(_RECORD) <= one.keys() for one in records):
        return None
    return [row for one in records if (row := _row(one, source))]


def _json_records(text: str) -> list[Any]:
    """Of a list, or of an object a line."""
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x]
    except ValueError as error:
        raise ValueError(f"not readable as JSON ({error})") from error
    return list(found)


def _row(record: Mapping[str, Any], source: str) -> Row | None:
    prompt, generated, depth = (int(record.get(key) or 0) for key in ("n_prompt", "n_gen", "n_depth"))
    if bool(prompt) == bool(generated):
        return None
    test = f"pp{prompt}" if prompt else f"tg{generated}"
    stem = _FILE_ENDS.sub("", re.split(r"[/\\]", str(record.get("model_filename", "")))[-1])
    described = str(record["model_type"])
    return _named(described, stem, float(record.get("model_n_params") or 0)) | {
        "source": source, "engine": "llama.cpp", "backend": str(record.get("backends", "")),
        "device": str(record.get("gpu_info", "")), "test": test, "prompt_or_depth": f"{test}@d{depth}",
        "tokens_per_s": str(record["avg_ts"]),
        "notes": "; ".join((
            f"n_ubatch={record.get('n_ubatch') or DEFAULT_MICRO_BATCH}",
            *([f"build {record['build_commit']} ({record['build_number']})"] if "build_commit" in record else []),
            f"+-{float(record.get('stddev_ts') or 0):.4f}",
        )),
    }  # fmt: skip


def _markdown_records(lines: list[str]) -> list[Any]:
    """Of every table among the lines, as its JSON would hold them; what stands around says the build and the device."""
    around = "\n".join(line for line in lines if not line.startswith("|"))
    build = re.search(r"build: (\w+) \((\d+)\)", around)
    device = re.search(r"(?:Device 0: |^ggml_vulkan: 0 = )([^,(\n]+)", around, re.MULTILINE)
    shared = {"gpu_info": device[1].strip() if device else ""}
    shared |= {"build_commit": build[1], "build_number": build[2]} if build else {}
    names: list[str] = []
    records: list[Any] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if set(_MARKDOWN) <= set(cells):
            names = cells
        elif names and len(cells) == len(names):
            one = dict(zip(names, cells, strict=True))
            if found := re.fullmatch(r"(pp|tg)(\d+)(?: @ d(\d+))?", one["test"]):
                rate, _, spread = map(str.strip, one["t/s"].partition("±"))
                tokens = {"pp": ("n_prompt", "n_gen"), "tg": ("n_gen", "n_prompt")}[found[1]]
                records.append(shared | {
                    **dict(zip(tokens, (found[2], 0), strict=True)), "n_depth": found[3], "avg_ts": rate,
                    "stddev_ts": spread, "model_type": one["model"], "model_n_params": _count(one.get("params", "")),
                    "backends": one.get("backend", ""), "n_ubatch": one.get("n_ubatch"),
                })  # fmt: skip
    return records


def _count(text: str) -> float:
    """Of "30.53 B" and "134.52 M"."""
    found = re.fullmatch(r"([\d.]+) ([MB])", text)
    return float(found[1]) * {"M": 1e6, "B": 1e9}[found[2]] if found else 0.0


def _named(described: str, stem: str, params: float) -> Row:
    """Model and quantisation: by the file's name, by llama.cpp's description of it, or by its parameters."""
    found = _DESCRIBED.fullmatch(described)
    family, size, quant = found.groups() if found else ("", "", described)
    plain = f"{_ARCHITECTURES.get(family, family)}-{size.replace('.A', '-A')}"
    alike = [name for name, config in PRESETS.items() if params and abs(config.params / params - 1) < 2e-3]
    names = [name for name in (stem, plain) if model_of(name)] or alike[:1]
    return {"model": names[0] if names else stem or described, "quant": quant}
