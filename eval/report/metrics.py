"""Every figure of a layout at a length, once: where it is read off and how each output shows it.

The tables of the terminal, report.md and the page, report.csv, report.json, `Comparison.rows` and --json are made of
`METRICS`; a metric that is registered is in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final, Literal

from attention.registry import Registry
from attention.unknown import unknown
from eval.report.layout_result import LayoutResult, Spread
from eval.report.number_format import (
    NOTHING,
    duration,
    factor,
    flops,
    number,
    percent,
    signed_percent,
    size,
    spread,
)

Kind = Literal["measured", "counted"]
Value = float | Spread | None


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: its column in `Comparison.rows`, with the unit at the end; of a `Spread` it is the median's, and `_low`
            and `_high`, the fastest and the slowest sample, stand beside it.
        value: read off a result; None where it was not measured.
        part, quantity, kind, unit: of what in a prefill, what, how it is known, in which unit (1: a ratio), as
            report.csv and report.json say it.
        table, title: the table that it is a column of, and its head there; "" for none.
        show: a value that is known, as a cell.
        missing: the cell of one that is not.
        note: what report.csv says beside it.
        against_full: whether it says nothing of full attention itself.
        in_rows, in_numbers: whether `Comparison.rows` has it, and report.csv and report.json.

    Examples:
        >>> rate = Metric(
        ...     "tokens_per_s", lambda one: one.whole_ms and 1e3 * one.tokens / one.whole_ms.median, "whole", "rate",
        ...     "measured", "token/s", table="Time", title="tokens/s",
        ... )
        >>> with METRICS.temporarily(rate):
        ...     METRICS.find("tokens_per_s").unit
        'token/s'
    """

    name: str
    value: Callable[[LayoutResult], Value]
    part: str
    quantity: str
    kind: Kind
    unit: str
    table: str = ""
    title: str = ""
    show: Callable[[Any], str] = number
    missing: Callable[[LayoutResult], str] = lambda _: NOTHING
    note: Callable[[LayoutResult], str] = lambda _: ""
    against_full: bool = False
    in_rows: bool = True
    in_numbers: bool = True

    def __post_init__(self) -> None:
        if self.table not in ("", *TABLES):
            raise ValueError(unknown(f"table of metric {self.name!r}", self.table, TABLES))

    def cell(self, result: LayoutResult) -> str:
        """As a table shows it."""
        value = self.value(result)
        return self.missing(result) if value is None else self.show(value)

    def columns(self, result: LayoutResult) -> dict[str, float | None]:
        """As `Comparison.rows` has it."""
        value = self.value(result)
        if not self.name.endswith("_ms"):
            return {self.name: value.median if isinstance(value, Spread) else value}
        median, low, high = (value.median, value.low, value.high) if isinstance(value, Spread) else (value, None, None)
        return {self.name: median, f"{self.name}_low": low, f"{self.name}_high": high}


def _at(path: str) -> Callable[[LayoutResult], Any]:
    """What `path` leads to from a result; None where something on the way is."""
    *names, last = path.split(".")

    def value(result: LayoutResult) -> Any:
        found: Any = result
        for name in names:
            found = found and getattr(found, name)
        return found and getattr(found, last)

    return value


def _times() -> Iterator[Metric]:
    def told(result: LayoutResult) -> str:
        return NOTHING if result.status in (None, "ok") else result.status

    for name, part, title, show, missing in (
        ("prefill_ms", "whole", "whole", spread, told),
        ("linear_ms", "linear", "linear", _median, _nothing),
        ("attention_ms", "attention", "attention", _median, _nothing),
    ):
        yield Metric(name, _at(f"{part}_ms"), part, "time", "measured", "ms", "Time", title, show=show, missing=missing)
        if part == "whole":
            yield Metric(
                "prefill_tokens_per_s", _at("tokens_per_s"), part, "tokens a second", "measured", "token/s", "Time",
                "tokens/s",
            )  # fmt: skip
    for name, part in (("prefill", "whole"), ("linear", "linear"), ("attention", "attention")):
        value = _at(f"{part}_ms.samples")
        yield Metric(f"{name}_samples", value, part, "samples of the time", "measured", "sample")
    shares: tuple[tuple[str, str, Kind, str, str], ...] = (
        ("attention_share", "share_measured", "measured", "time", "time\nshare"),
        ("attention_share_by_flops", "share_predicted", "counted", "useful FLOPs", "FLOP\nshare"),
    )
    for name, field, kind, of, title in shares:
        yield Metric(name, _at(field), "attention", f"share of {of}", kind, "1", "Time", title, show=percent)


def _flops() -> Iterator[Metric]:
    titles = {"linear_useful": "linear", "attention_useful": "attention\nuseful", "useful": "whole\nuseful",
              "attention_executed": "attention\nexecuted", "executed": "whole\nexecuted"}  # fmt: skip
    for part in ("linear", "attention", "whole", "head"):
        for count in ("useful", "executed"):
            name = count if part == "whole" else f"{part}_{count}"
            yield Metric(
                f"{name}_flops", _at(f"{count}.{part}"), part, f"{count} FLOPs", "counted", "FLOP",
                "FLOPs" if name in titles else "", titles.get(name, ""), show=flops,
                in_rows=part in ("attention", "whole"),
            )  # fmt: skip


def _gains() -> Iterator[Metric]:
    factors: tuple[tuple[str, str, Kind, str, Callable[[float], str]], ...] = (
        ("speed_up", "speed-up", "measured", "speed-up", factor),
        ("useful_reduction", "reduction of useful FLOPs", "counted", "useful\nFLOPs", factor),
        ("executed_reduction", "reduction of executed FLOPs", "counted", "executed\nFLOPs", factor),
        ("realisation", "realisation", "measured", "realisation", percent),
    )
    for part, prefix in (("whole", ""), ("attention", "attention_")):
        for field, quantity, kind, title, show in factors:
            yield Metric(
                prefix + field, _at(f"{part}_gain.{field}"), part, quantity, kind, "1", GAIN_TITLES[part], title,
                show=show, against_full=True,
            )  # fmt: skip


def _quality() -> Iterator[Metric]:
    metric = partial(Metric, part="text", kind="measured", table="Quality", note=_of_text)
    yield metric("perplexity", _at("quality.perplexity"), quantity="perplexity", unit="1", title="perplexity",
                 show="{:.3f}".format)  # fmt: skip
    yield metric("perplexity_change", _at("perplexity_change"), quantity="perplexity over full attention's", unit="1",
                 title="against full", show=signed_percent, in_rows=False, in_numbers=False)  # fmt: skip
    yield metric("kl_nats", _at("quality.kl_nats"), quantity="KL from full attention", unit="nat/token",
                 title="KL (nats)", show="{:.4f}".format)  # fmt: skip
    yield metric("top1_agreement", _at("quality.top1_agreement"), quantity="same top token", unit="1",
                 title="same top token", show=percent)  # fmt: skip


def _read() -> Iterator[Metric]:
    metric = partial(
        Metric, part="text", kind="measured", table=WORTH, in_numbers=False
    )  # `_quality` tells the numbers
    yield metric("read_tokens", _at("read.tokens"), quantity="tokens read", unit="token", title="text\ntokens",
                 show="{:,}".format)  # fmt: skip
    yield metric("read_perplexity", _at("read.quality.perplexity"), quantity="perplexity", unit="1",
                 title="perplexity", show="{:.3f}".format)  # fmt: skip
    yield metric("read_perplexity_change", _at("read.perplexity_change"), quantity="perplexity over full attention's",
                 unit="1", title="against\nfull", show=signed_percent)  # fmt: skip
    yield metric("read_kl_nats", _at("read.quality.kl_nats"), quantity="KL from full attention", unit="nat/token",
                 title="KL (nats)", show="{:.4f}".format)  # fmt: skip


def _memory() -> Iterator[Metric]:
    for name, quantity, title in (
        ("planned_bytes", "planned memory", "planned"),
        ("rss_peak_bytes", "peak resident memory", "process"),
    ):
        yield Metric(name, _at(f"memory.{name}"), "whole", quantity, "measured", "B", "Peak memory", title, show=size)


def _rates() -> Iterator[Metric]:
    rate = partial(Metric, part="whole", kind="measured", table="Utilisation", in_rows=False, in_numbers=False)
    yield rate("useful_flops_per_s", attrgetter("useful_flops_per_s"), quantity="useful FLOPs a second", unit="FLOP/s",
               title="TFLOP/s", show=lambda value: f"{value / 1e12:.0f}")  # fmt: skip
    yield rate("peak_share", attrgetter("peak_share"), quantity="share of the peak", unit="1", title="of peak",
               show=percent)  # fmt: skip


def _median(ms: Spread) -> str:
    return duration(ms.median)


def _nothing(_: LayoutResult) -> str:
    return NOTHING


def _of_text(result: LayoutResult) -> str:
    return f"text: {result.text}"


GAIN_TITLES: Final = {
    "whole": "Gain over full attention, whole prefill",
    "attention": "Gain over full attention, attention part",
}

WORTH: Final = "Speed and quality"

TABLES: Final = (WORTH, "Time", *GAIN_TITLES.values(), "FLOPs", "Utilisation", "Peak memory", "Quality")
"""The tables that have metrics for columns, in the order of the report."""

METRICS: Final[Registry[Metric]] = Registry(
    "metric",
    attrgetter("name"),
    (*_times(), *_flops(), *_gains(), *_quality(), *_read(), *_memory(), *_rates()),
)
"""In the order of the columns; one of your own comes in by `METRICS.register`."""
