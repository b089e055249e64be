"""From measurement records to rows that compare: one row per layout and length, everything beside full attention.

Pure functions of the records: the terminal, the Markdown report and the plots all read the same `Summary`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from attention.full import FULL
from attention.layout import format_layout, parse_layout
from eval.cost.flops.closed_form import prefill_flops
from eval.measure.records import Record, latest
from eval.report.layout_result import Row, beside, row_of
from refmodel.config import ModelConfig

NO_IMPL = "none"
"""`impl` of a record in which no attention kernel ran."""


@dataclass(frozen=True)
class Summary:
    """One model on one device in one dtype; `impl` names the attention implementations that ran."""

    config: ModelConfig
    device: str
    dtype: str
    impl: str
    rows: tuple[Row, ...]
    records: tuple[Record, ...]

    @property
    def layouts(self) -> tuple[str, ...]:
        """In the order of the records, full attention first."""
        found = dict.fromkeys(row.layout for row in self.rows)
        return tuple(sorted(found, key=lambda layout: layout != FULL))

    @property
    def failures(self) -> tuple[Record, ...]:
        """What was tried and did not work."""
        return tuple(record for record in self.records if record["status"] != "ok")

    @property
    def is_empty(self) -> bool:
        """Whether no layout has a figure, neither a time nor a quality."""
        apart = any(record["kind"] == "apart" and record["status"] == "ok" for record in self.records)
        return not apart and not any(row.whole_ms or row.attention_ms or row.quality for row in self.rows)

    def at_longest(self) -> Summary:
        """With the rows of the longest prompt at which full attention was timed whole; failing that, of the longest
        that has a time, or of all.

        A cell that failed does not choose: beyond what fits into memory there is less to compare.
        """
        timed = [row for row in self.rows if row.whole_ms or row.attention_ms]
        reference = [row for row in timed if row.layout == FULL and row.whole_ms]
        longest = max((row.tokens for row in reference or timed or self.rows), default=0)
        return replace(self, rows=tuple(row for row in self.rows if row.tokens == longest))

    @property
    def unnamed_variants(self) -> tuple[str, ...]:
        """Those whose attention was timed and that no layout of the records has: no row shows them."""
        shown = {variant for layout in self.layouts for variant in self.variants(layout)}
        timed = dict.fromkeys(r["layout"] for r in self.records if (r["kind"], r["status"]) == ("attention", "ok"))
        return tuple(variant for variant in timed if variant not in shown)

    def of(self, layout: str) -> tuple[Row, ...]:
        """A layout's rows, shortest prompt first."""
        return tuple(row for row in self.rows if row.layout == layout)

    def samples_ms(self, kind: str, layout: str) -> dict[int, tuple[float, ...]]:
        """All samples of a part, per length: ("linear", "full") or ("attention", variant)."""
        cells = [r for r in self.records if (r["status"], r["kind"], r["layout"]) == ("ok", kind, layout)]
        return {r["tokens"]: tuple(r["timing"]["samples_ms"]) for r in sorted(cells, key=lambda r: r["tokens"])}

    def variants(self, layout: str) -> Counter[str]:
        """How many layers of a layout have each variant."""
        return Counter(str(variant) for variant in parse_layout(layout, self.config.n_layers))


def summarise(records: Iterable[Record], config: ModelConfig) -> tuple[Summary, ...]:
    """One summary per device and dtype, and per implementation where a cell was measured under several.

    Of several records of a cell the newest counts; of several texts, the one read last.  Raises `ValueError` for
    records of more than one model, and for a layout that `config` cannot have.
    """
    spelled = (r | {"layout": format_layout(parse_layout(r["layout"], config.n_layers))} for r in latest(records))
    kept = _of_one_text(list(spelled))
    models = sorted({record["model"] for record in kept})
    if len(models) > 1:
        raise ValueError(f"a summary is of one model, the records are of {', '.join(models)}")
    settings: dict[tuple[str, str], list[Record]] = {}
    for record in kept:
        settings.setdefault((record["device"], record["dtype"]), []).append(record)
    return tuple(
        _summary(config, [record for record in part if record["impl"] in (*impls, NO_IMPL)], impls)
        for part in settings.values()
        for impls in _impl_groups(part)
    )


def _of_one_text(records: list[Record]) -> list[Record]:
    """Perplexities of two texts do not compare."""
    read = [record for record in records if record["kind"] == "quality"]
    text = max(read, key=lambda r: r["time"]).get("text_sha256") if read else None
    return [record for record in records if record["kind"] != "quality" or record.get("text_sha256") == text]


def _impl_groups(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Which implementations belong in one summary: all (`auto` may switch with N), unless they compete for a cell."""
    cells = [(r["impl"], (r["kind"], r["layout"], r["tokens"])) for r in records if r["impl"] != NO_IMPL]
    impls = tuple(dict.fromkeys(impl for impl, _ in cells))
    compete = len({cell for _, cell in cells}) < len(cells)
    return [(impl,) for impl in impls] if compete else [impls]


def _summary(config: ModelConfig, records: list[Record], impls: tuple[str, ...]) -> Summary:
    summary = Summary(config, records[0]["device"], records[0]["dtype"], "+".join(impls), (), tuple(records))
    layouts = dict.fromkeys(record["layout"] for record in records if record["kind"] in ("prefill", "quality"))
    layouts |= dict.fromkeys(layout for record in records for layout in record.get("layouts", ()))
    lengths = sorted({record["tokens"] for record in records})
    by_length = {n: {(r["kind"], r["layout"]): r for r in records if r["tokens"] == n} for n in lengths}
    rows = [
        row_of(layout, summary.variants(layout), tokens, _with_linear_flops(by_length[tokens], config, tokens))
        for tokens, layout in itertools.product(lengths, layouts)
    ]
    rows = [row for row in rows if row.status or row.attention_ms or row.quality]
    full = {row.tokens: row for row in rows if row.layout == FULL}
    return replace(summary, rows=tuple(beside(row, full.get(row.tokens)) for row in rows))


def _with_linear_flops(
    cells: dict[tuple[str, str], Record], config: ModelConfig, tokens: int
) -> dict[tuple[str, str], Record]:
    """With the linear layers' FLOPs where they could not be timed: they are the same under every layout."""
    linear = cells.get(("linear", FULL), {"status": "missing"})
    if "flops" in linear:
        return cells
    full = config.with_layout(FULL)
    flops = {count: prefill_flops(full, tokens, count=count) for count in ("useful", "executed")}
    return cells | {("linear", FULL): linear | {"flops": flops}}
