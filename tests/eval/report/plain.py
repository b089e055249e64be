"""The figures of a report the plain way: from the lines of records, by their definitions, by none of the report's code.

Milliseconds, FLOPs, bytes, nats; ratios are full attention's figure over the layout's.
"""

from __future__ import annotations

import re
import statistics

import numpy as np

from attention.layout import parse_layout
from tests.eval.report.synthetic_records import CONFIG

LINEAR = ("attention_projections", "feed_forward")


def cell(records: list[dict], kind: str, layout: str, tokens: int) -> dict | None:
    """The record of that cell, if it worked."""
    found = [r for r in records if (r["kind"], r["layout"], r["tokens"], r["status"]) == (kind, layout, tokens, "ok")]
    return found[-1] if found else None


def times(records: list[dict], kind: str, layout: str, tokens: int) -> np.ndarray | None:
    """Median, fastest, slowest sample."""
    found = cell(records, kind, layout, tokens)
    ms = sorted(found["timing"]["samples_ms"]) if found else None
    return ms and np.array([statistics.median(ms), ms[0], ms[-1]])


def taken(records: list[dict], kind: str, layout: str, tokens: int) -> int:
    """How many samples."""
    return len(cell(records, kind, layout, tokens)["timing"]["samples_ms"])


def figures(records: list[dict], layout: str, tokens: int, beside: bool = True) -> dict:
    """All of one layout at one length, by plain names; what was not measured is missing."""
    found: dict = {}
    layers = [str(variant) for variant in parse_layout(layout, CONFIG.n_layers)]
    kernels = [times(records, "attention", variant, tokens) for variant in layers]
    if (linear := times(records, "linear", "full", tokens)) is not None:
        found["linear_ms"], found["attention_ms"] = linear, sum(kernels)
        found["samples"] = {"linear": taken(records, "linear", "full", tokens),
                            "attention": min(taken(records, "attention", one, tokens) for one in layers)}  # fmt: skip
        found["time_share"] = sum(kernels)[0] / (sum(kernels)[0] + linear[0])
    if whole := cell(records, "prefill", layout, tokens):
        found["whole_ms"] = times(records, "prefill", layout, tokens)
        found.setdefault("samples", {})["whole"] = taken(records, "prefill", layout, tokens)
        for count, flops in whole["flops"].items():
            found[count] = {"attention": flops["attention"], "linear": sum(flops[name] for name in LINEAR),
                            "head": flops["head"], "whole": sum(flops.values())}  # fmt: skip
        useful = found["useful"]
        found["flop_share"] = useful["attention"] / (useful["attention"] + useful["linear"])
        found["flops_per_s"] = useful["whole"] / (found["whole_ms"][0] / 1e3)
        memory = whole["memory"]
        found["planned_bytes"] = sum(memory[f"{part}_bytes"] for part in ("argument", "temp", "output"))
        found["rss_peak_bytes"] = memory["rss_peak_bytes"]
    if read := cell(records, "quality", layout, tokens):
        found["quality"] = read["quality"]
    full = figures(records, "full", tokens, beside=False) if beside else {}
    for part in ("whole", "attention"):
        if f"{part}_ms" in found and f"{part}_ms" in full:
            gain = {
                "speed_up": full[f"{part}_ms"][0] / found[f"{part}_ms"][0],
                **{f"{count}_reduction": full[count][part] / found[count][part] for count in ("useful", "executed")},
            }
            found[f"{part}_gain"] = gain | {"realisation": gain["speed_up"] / gain["useful_reduction"]}
    if "quality" in found and "quality" in full:
        found["perplexity_change"] = found["quality"]["perplexity"] / full["quality"]["perplexity"] - 1
    return found


UNITS = {"ms": 1, "s": 1e3, "FLOP": 1, "B": 1, "x": 1, "%": 0.01, "nats": 1, "TFLOP/s": 1e12, "": 1,
         **{f"{prefix}FLOP": scale for prefix, scale in zip("kMGTP", (1e3, 1e6, 1e9, 1e12, 1e15), strict=True)},
         "kB": 1e3, "MB": 1e6, "GB": 1e9}  # fmt: skip


def says(text: str, *values: float) -> bool:
    """Whether `text` is these values, each rounded to the digits that it shows; the first unit holds for all."""
    printed = re.findall(r"[+-]?[\d,]*\d(?:\.\d+)?", re.sub(r"(?<=\d)-", " ", text))
    units = re.findall(r"(?<=[\d ])(?:[kMGTP]?FLOP(?:/s)?|[kMG]?B|ms|s|x|%|nats)(?=[ ()/,;]|$)", text)
    scale = UNITS[units[0] if units else ""]
    if len(printed) != len(values):
        return False
    for one, value in zip(printed, values, strict=True):
        digits = len(one.partition(".")[2])
        if abs(float(one.replace(",", "")) - value / scale) > 0.5 * 10.0**-digits * (1 + 1e-9):
            return False
    return True
