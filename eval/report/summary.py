"""From measurement records to results that compare: one per layout and length, everything beside full attention.

Pure functions of the records: the terminal, the Markdown report and the plots all read the same `Summary`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from attention.full import FULL
from attention.shorthand import SHORT_DTYPES
from eval.cost.cards import card_of_device
from eval.cost.flops.closed_form import attention_flops, prefill_flops
from eval.measure.named_layout import LayoutNames, NamedLayout
from eval.measure.records.file import latest
from eval.measure.records.identity import refuse_mixed
from eval.measure.records.schema import NO_IMPL, FlopCounts, Record
from eval.report.layout_result import Cells, LayoutResult, beside_full, layout_result
from eval.report.longest_common import with_read
from eval.report.settings import settings
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class Summary:
    """One model on one device in one dtype; `impl` names the attention implementations that ran."""

    config: ModelConfig
    device: str
    dtype: str
    impl: str
    results: tuple[LayoutResult, ...]
    records: tuple[Record, ...]

    @property
    def batch(self) -> int:
        """Prompts that went through at once."""
        return self.records[0].run.batch

    @property
    def layouts(self) -> tuple[NamedLayout, ...]:
        """In the order of the records, full attention first."""
        found = dict.fromkeys(result.layout for result in self.results)
        return tuple(sorted(found, key=lambda layout: not layout.is_full))

    def under(self, layout: NamedLayout) -> ModelConfig:
        """The model with that attention."""
        return self.config.with_layout(layout.variants)

    @property
    def failures(self) -> tuple[Record, ...]:
        """What was tried and did not work."""
        return tuple(record for record in self.records if record.status != "ok")

    @property
    def is_empty(self) -> bool:
        """Whether no layout has a figure, neither a time nor a quality."""
        apart = any((record.kind, record.status) == ("apart", "ok") for record in self.records)
        return not apart and not any(one.whole_ms or one.attention_ms or one.quality for one in self.results)

    def at_longest(self) -> Summary:
        """With the results of the longest prompt at which full attention was timed whole; failing that, of the longest
        that has a time, or of all.

        A cell that failed does not choose: beyond what fits into memory there is less to compare.
        """
        timed = [one for one in self.results if one.whole_ms or one.attention_ms]
        reference = [one for one in timed if one.layout.is_full and one.whole_ms]
        longest = max((one.tokens for one in reference or timed or self.results), default=0)
        return replace(self, results=tuple(one for one in self.results if one.tokens == longest))

    @property
    def unnamed_variants(self) -> tuple[str, ...]:
        """Those whose attention was timed and that no layout of the records has: no result shows them."""
        shown = {str(variant) for layout in self.layouts for variant in layout.counts}
        timed = dict.fromkeys(r.layout for r in self.records if (r.kind, r.status) == ("attention", "ok"))
        return tuple(variant for variant in timed if variant not in shown)

    def of(self, name: str) -> tuple[LayoutResult, ...]:
        """A layout's results, shortest prompt first."""
        return tuple(one for one in self.results if one.layout.name == name)

    def samples_ms(self, kind: str, name: str) -> dict[int, tuple[float, ...]]:
        """All samples of a part, per length: ("linear", "full") or ("attention", variant)."""
        cells = [r for r in self.records if (r.status, r.kind, r.layout) == ("ok", kind, name)]
        return {r.tokens: r.timing.samples_ms for r in sorted(cells, key=lambda r: r.tokens) if r.timing}


def summarise(
    records: Iterable[Record], config: ModelConfig, layouts: Iterable[NamedLayout] = (), *, mixed: bool = False
) -> tuple[Summary, ...]:
    """One summary per setting (`eval.report.settings`), and per implementation where a cell was measured under several.

    Of several records of a cell the newest counts; of several texts, the one read last.  `layouts` are those at hand:
    of variants that no registry knows, records hold only the name.  Raises `ValueError` for records of more than one
    model, for those of several devices, dtypes, weights or commits that are not to be `mixed`, and for a layout that
    `config` cannot have or that cannot be read.
    """
    names = LayoutNames(config, layouts)

    def named(record: Record) -> Record:
        find = names.single_layer if record.kind == "attention" else names.layout
        return replace(record, layout=find(record.layout).name)

    kept = _of_one_text([named(record) for record in latest(records)])
    models = sorted({record.run.model for record in kept})
    if len(models) > 1:
        raise ValueError(f"a summary is of one model, the records are of {', '.join(models)}")
    if not mixed:
        refuse_mixed(kept)
    return tuple(
        _summary(config, [record for record in part if record.impl in (*impls, NO_IMPL)], impls, names)
        for part in settings(kept)
        for impls in _impl_groups(part)
    )


def _of_one_text(records: list[Record]) -> list[Record]:
    """Perplexities of two texts do not compare."""
    read = [record for record in records if record.kind == "quality"]
    newest = _sha256(max(read, key=lambda r: r.time)) if read else None
    return [record for record in records if record.kind != "quality" or _sha256(record) == newest]


def _sha256(record: Record) -> str | None:
    return record.text.sha256 if record.text else None


def _impl_groups(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Which implementations belong in one summary: all (`auto` may switch with N), unless they compete for a cell."""
    cells = [(r.impl, (r.kind, r.layout, r.tokens)) for r in records if r.impl != NO_IMPL]
    impls = tuple(dict.fromkeys(impl for impl, _ in cells))
    compete = len({cell for _, cell in cells}) < len(cells)
    return [(impl,) for impl in impls] if compete else [impls]


def _summary(config: ModelConfig, records: list[Record], impls: tuple[str, ...], names: LayoutNames) -> Summary:
    run = records[0].run
    found = dict.fromkeys(record.layout for record in records if record.kind in ("prefill", "quality"))
    found |= dict.fromkeys(layout for record in records for layout in record.layouts)
    layouts = tuple(dict.fromkeys(names.layout(name) for name in found))
    lengths = sorted({record.tokens for record in records})
    by_length: dict[int, Cells] = {n: {(r.kind, r.layout): r for r in records if r.tokens == n} for n in lengths}
    by_length = {
        n: _with_linear_flops(_choosing_counted(cells, config, names, n), config, n) for n, cells in by_length.items()
    }
    results = [
        layout_result(layout, tokens, by_length[tokens]) for tokens, layout in itertools.product(lengths, layouts)
    ]
    peak = _peak_flops_per_s(records)
    results = [
        replace(r, peak_flops_per_s=peak, batch=run.batch) for r in results if r.status or r.attention_ms or r.quality
    ]
    full = {one.tokens: one for one in results if one.layout.is_full}
    beside = with_read([beside_full(one, full.get(one.tokens)) for one in results])
    return Summary(config, run.device, run.dtype, "+".join(impls), beside, tuple(records))


def _peak_flops_per_s(records: list[Record]) -> float | None:
    """Of the card that the records were made on, in their dtype."""
    run = records[0].run
    card = card_of_device(run.environment.device_kind)
    peak = card.peak.get(SHORT_DTYPES.get(run.dtype, run.dtype)) if card else None
    return peak.value if peak else None


"""As cards name types."""


def _choosing_counted(cells: Cells, config: ModelConfig, names: LayoutNames, tokens: int) -> Cells:
    """With useful FLOPs of today's closed form where variants choose what they see.

    Records hold what was counted when they were made, and h2o's choosing was counted as a rectangle then.
    """

    def counted(kind: str, record: Record) -> Record:
        if kind not in ("attention", "prefill") or not record.flops:
            return record
        named = names.single_layer(record.layout) if kind == "attention" else names.layout(record.layout)
        costs = (variant.at_length(tokens).useful(config.heads, tokens) for variant in named.counts)
        if not any(cost.selection_flops for cost in costs):
            return record
        useful = (
            {"attention": record.run.batch * attention_flops(named.variants[0], config, tokens)}
            if kind == "attention"
            else prefill_flops(config.with_layout(named.variants), tokens, batch=record.run.batch)
        )
        return replace(record, flops=replace(record.flops, useful=useful))

    return {(kind, layout): counted(kind, record) for (kind, layout), record in cells.items()}


def _with_linear_flops(cells: Cells, config: ModelConfig, tokens: int) -> Cells:
    """With the linear layers' FLOPs where they could not be timed: they are the same under every layout."""
    linear = cells.get(("linear", FULL))
    if linear and linear.flops:
        return cells
    full, like = config.with_layout(FULL), linear or next(iter(cells.values()))
    useful, executed = (
        prefill_flops(full, tokens, count=count, batch=like.run.batch) for count in ("useful", "executed")
    )
    unmeasured = replace(like, kind="linear", layout=FULL, status="failed", timing=None, memory=None, quality=None,
                         flops=FlopCounts(useful, executed))  # fmt: skip
    return {**cells, ("linear", FULL): unmeasured}
