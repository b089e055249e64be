"""What llama-bench prints (`-o csv`, `json`, `jsonl`, `md`), as rows of a table of rates."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from eval.cost import row_fields as fields
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

MOST_PARAMS: Final = 1e14
"""Of a model."""


def bench_rows(text: str, source: str) -> list[Row] | None:
    """The rows of one of its outputs, named by `source`; None for a text that is none of them.

    A test that mixes a prompt with generated tokens (`-pg`) is left out: its time is of both.  Raises `ValueError` in
    one line for a field that llama-bench does not write so, and where all tests are mixed.
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
    rows = [row for one in records if (row := _row(one, source))]
    if not rows:
        raise ValueError("no test is of a prompt or of decode alone, as of -p and -n; those of -pg mix the two")
    return rows


def _json_records(text: str) -> list[Any]:
    """Of a list, or of an object a line."""
    whole = text.lstrip().startswith("[")
    try:
        return list(json.loads(text) if whole else [json.loads(line) for line in text.splitlines() if line.strip()])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({error})") from error


def _row(record: Mapping[str, Any], source: str) -> Row | None:
    told = {name: value for name, value in record.items() if value not in (None, "")}
    prompt, generated, depth = (fields.whole(key, told.get(key, 0)) for key in ("n_prompt", "n_gen", "n_depth"))
    if bool(prompt) == bool(generated):
        return None
    test = f"pp{prompt}" if prompt else f"tg{generated}"
    texts = ("model_filename", "model_type", "backends", "gpu_info", "build_commit", "devices", "split_mode")
    said = {name: fields.text(name, told.get(name)) for name in texts}
    stem = _FILE_ENDS.sub("", re.split(r"[/\\]", said["model_filename"])[-1])
    params = fields.number("model_n_params", told.get("model_n_params", 0), 0, MOST_PARAMS)
    micro_batch = fields.whole("n_ubatch", told.get("n_ubatch", DEFAULT_MICRO_BATCH), 1)
    build = f"build {said['build_commit']} ({fields.whole('build_number', told.get('build_number', 0), 0, 10**9)})"
    spread = fields.number("stddev_ts", told.get("stddev_ts", 0), 0, fields.MOST_RATE)
    return _named(said["model_type"], stem, params) | {
        "source": source, "engine": "llama.cpp", "backend": said["backends"],
        "device": _device(said["gpu_info"], said["devices"], said["split_mode"]), "test": test,
        "prompt_or_depth": f"{test}@d{depth}", "tokens_per_s": repr(fields.rate("avg_ts", told.get("avg_ts"))),
        "notes": "; ".join((f"n_ubatch={micro_batch}", *([build] if said["build_commit"] else []), f"+-{spread:.4f}")),
    }  # fmt: skip


def _device(gpu_info: str, devices: str, split_mode: str) -> str:
    """As the table names it, "2x R9700": those of the GPUs there are (`gpu_info`) that ran (`devices`: "ROCm0/ROCm1").

    Raises `ValueError` for several that are not of one kind.
    """
    names = [name.strip() for name in gpu_info.split(",") if name.strip()]
    places = [int(found[1]) for one in devices.split("/") if (found := re.search(r"(?<!\d)(\d{1,3})$", one))]
    ran = [names[place] for place in places if place < len(names)] or names
    if split_mode == "none":
        ran = ran[:1]
    if len(set(ran)) > 1:
        raise ValueError(f"a rate of devices of one kind is wanted, got {', '.join(ran)}; -dev and -sm none choose")
    return f"{len(ran)}x {ran[0]}" if len(ran) > 1 else "".join(ran)


def _markdown_records(lines: list[str]) -> list[Any]:
    """Of every table among the lines, as its JSON would hold them; what stands around says build and devices."""
    around = "\n".join(line for line in lines if not line.startswith("|"))
    build = re.search(r"build: (\w+) \((\d+)\)", around)
    devices = re.findall(r"(?:^ *Device \d+: |^ggml_vulkan: \d+ = )([^,(\n]+)", around, re.MULTILINE)
    shared = {"gpu_info": ", ".join(device.strip() for device in devices)}
    shared |= {"build_commit": build[1], "build_number": build[2]} if build else {}
    names: list[str] = []
    records: list[Any] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if set(_MARKDOWN) <= set(cells):
            names = cells
        elif names and len(cells) == len(names):
            one = dict(zip(names, cells, strict=True))
            if found := re.fullmatch(r"(?:pp(\d+))?\+?(?:tg(\d+))?(?: @ d(\d+))?", one["test"]):
                rate, _, spread = map(str.strip, one["t/s"].partition("±"))
                records.append(shared | {
                    **dict(zip(("n_prompt", "n_gen", "n_depth"), found.groups(), strict=True)), "avg_ts": rate,
                    "stddev_ts": spread, "model_type": one["model"], "model_n_params": _count(one.get("params", "")),
                    "backends": one.get("backend"), "n_ubatch": one.get("n_ubatch"), "devices": one.get("dev"),
                    "split_mode": one.get("sm"),
                })  # fmt: skip
    return records


def _count(text: str) -> float:
    """Of "30.53 B" and "134.52 M"."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?) ([MB])", text)
    return float(found[1]) * {"M": 1e6, "B": 1e9}[found[2]] if found else 0.0


def _named(described: str, stem: str, params: float) -> Row:
    """Model and quantisation: by the file's name, by llama.cpp's description of it, or by its parameters."""
    found = _DESCRIBED.fullmatch(described)
    family, size, quant = found.groups() if found else ("", "", described)
    plain = f"{_ARCHITECTURES.get(family, family)}-{size.replace('.A', '-A')}"
    alike = [name for name, config in PRESETS.items() if params and abs(config.params / params - 1) < 2e-3]
    names = [name for name in (stem, plain) if model_of(name)] or alike[:1]
    return {"model": names[0] if names else stem or described, "quant": quant}
