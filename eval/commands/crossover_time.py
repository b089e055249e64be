"""What `prefillwall crossover --card` adds: the crossover by time on that card, and the longest context that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.commands import arguments, output
from eval.cost.cards import Card
from eval.cost.flops.formats import Storage, weights_record
from eval.cost.roofline import longest_fit_tokens
from eval.cost.time_crossover import Rates, rates_of, time_crossovers
from eval.report.number_format import size
from refmodel.specification import ModelConfig


def add_times(record: dict[str, Any], models: Sequence[ModelConfig], named: str, asked: Mapping[str, str]) -> None:
    """Adds to `crossover`'s record what the `named` card says of each model, under what was `asked` of it.

    Raises `ValueError` for a card that is not known, and for a rate that it lacks.
    """
    (card,) = arguments.floor_cards([named])
    storage = Storage(asked["weights"], asked["kv"])
    rates, missing = rates_of(card, Rates(asked["products"], asked["attention_dtype"]))
    record["card"] = {
        "card": card.name, "title": card.title, "weights": weights_record(models[0], storage.weights), "kv": storage.kv,
        "peaks_missing": list(missing),
    }  # fmt: skip
    record["conventions"]["time"] = (
        "a prediction, each component at the larger of FLOPs / peak and bytes / bandwidth; layers, causal, useful"
    )
    for one, model in zip(record["layouts"], models, strict=True):
        one["time_crossovers"] = [
            {"products": each.products, "attention_dtype": each.attention, "tokens": tokens}
            for each, tokens in time_crossovers(model, card, storage, rates).items()
        ]
        one["longest_fit_tokens"] = _longest_fit(model, card, storage)


def _longest_fit(model: ModelConfig, card: Card, storage: Storage) -> int | str | None:
    """As `longest_fit_tokens`, "unknown" of a card whose memory is not told."""
    return longest_fit_tokens(model, card, storage) if "memory_bytes" in card.figures else "unknown"


def print_times(record: dict[str, Any]) -> None:
    """The second table, of a record to which `add_times` has added."""
    out, known, layouts = output.console(), record["card"], record["layouts"]
    rates = (Rates(one["products"], one["attention_dtype"]) for one in layouts[0]["time_crossovers"])
    heads = (one.title.replace(", ", ",\n") for one in rates)
    rows = output.table(f"{known['title']}: N* by time (predicted)", "layout", *heads, "fits up to")
    for one in layouts:
        times, fits = (each["tokens"] for each in one["time_crossovers"]), one["longest_fit_tokens"]
        rows.add_row(one["layout_summary"], *(f"{n:,}" if n else "none" for n in times), output.longest_fit(fits))
    out.print(rows)
    stored = known["weights"]
    lines = [
        f"weights {stored['format']}: {stored['bits_per_weight']:.4g} bits each, {size(stored['bytes'])}, expanded to "
        f"what the products take; cache {known['kv']}. Fits: weights and cache, no temporaries.",
        f"time: {record['conventions']['time']}.",
        *(f"no column in {dtype}: {known['card']} has no such peak here." for dtype in known["peaks_missing"]),
    ]
    for line in lines:
        out.print(f"[dim]{line}[/dim]", highlight=False)
