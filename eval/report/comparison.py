"""`prefillwall compare` from Python: the same sweep, and its figures as a table."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention import checks
from attention.layout import LayoutSpec
from eval.measure import estimate
from eval.measure.comparison_run import ComparisonRequest, run_comparison
from eval.measure.named_layout import NamedLayout
from eval.measure.notebook_bar import in_notebook
from eval.measure.plan import Cell, Sweep
from eval.measure.progress import remarks
from eval.measure.records import file
from eval.measure.records.bounds import MOST_BATCH
from eval.measure.records.identity import refuse_mixed
from eval.measure.records.schema import Record
from eval.measure.timing import Budget
from eval.report import shown
from eval.report.layout_result import LayoutResult
from eval.report.metrics import METRICS
from eval.report.summary import Summary, summarise
from refmodel.default_model import DEFAULT_MODEL
from refmodel.source import Model
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Comparison:
    """What a comparison measured: its records as `records.jsonl` holds them, and what follows from them.

    Examples:
        >>> from eval import Comparison
        >>> from refmodel.presets import preset
        >>> Comparison(preset("tiny-dense"), records=()).rows()
        []
    """

    config: ModelConfig
    records: tuple[Record, ...]
    layouts: tuple[NamedLayout, ...] = field(default=(), compare=False)
    """Those at hand: of variants that no registry knows, records hold only the name."""
    mixed: bool = field(default=False, compare=False)
    """Whether records of several devices, dtypes, weights or commits are taken, each device and dtype apart."""

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """One for each device, dtype and implementation; the reports are made of these."""
        return summarise(self.records, self.config, self.layouts, mixed=self.mixed)

    @property
    def failures(self) -> tuple[Record, ...]:
        """What was tried and did not work; `error` says why."""
        return tuple(record for record in self.records if record.status != "ok")

    @classmethod
    def read(cls, path: str | Path, config: ModelConfig | None = None, *, mixed: bool = False) -> Comparison:
        """What an earlier run kept: of the folder that it wrote to, or of a `records.jsonl`, whole or in part.

        Args:
            path: the folder, or the file.
            config: the shape of the model (default: of the model that the records name, which has to be a preset or
                what `refmodel.load` opens).
            mixed: take records of several devices, dtypes, weights or commits, which are refused otherwise.

        Raises:
            ValueError: in one line, where there are no records, lines that are none, records of something else than a
                comparison, records that do not compare, or a model that cannot be found.

        Examples:
            >>> import tempfile
            >>> import eval
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     found = eval.compare("tiny-dense", ["swa(5)"], tokens=[16], out=folder)
            ...     eval.Comparison.read(folder) == found
            True
        """
        source, found = file.read_comparison(path)
        kept = tuple(file.latest(found))
        if not mixed:
            refuse_mixed(kept, str(source))
        return cls(config or file.config_of(kept, source), kept, mixed=mixed)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each layout and length; None where nothing was measured.

        Units are in the names: `_ms` (median, and `_low` and `_high`, the fastest and the slowest sample), `_flops`,
        `_bytes`, `_nats`.  `prefill` is the whole prompt in one piece; `linear` and `attention` are its parts, timed
        apart.  Shares, reductions and speed-ups are ratios: `speed_up` and the FLOP reductions are full attention's
        figure over the layout's, `realisation` is speed-up over the reduction of useful FLOPs.
        """
        return [_columns(row, summary) for summary in self.summaries for row in summary.results]

    def to_pandas(self) -> pandas.DataFrame:
        """`rows` as a DataFrame.  Raises `ImportError` with what to install where pandas is missing."""
        return as_frame(self.rows())

    def plot_pareto(self, place: int = 0) -> Figure:
        """What was lost against what it costs, of one of the `summaries`: perplexity and KL over the prefill's time.

        Raises `ValueError` where no layout has both.
        """
        return shown.pareto(self, place)

    def plot_wall(self, place: int = 0) -> Figure:
        """Time against prompt length, whole and in its parts with their crossovers, of one of the `summaries`.

        Raises `ValueError` where nothing was timed.
        """
        return shown.wall(self, place)

    def __repr__(self) -> str:
        return shown.in_a_line(self)

    def _repr_html_(self) -> str:
        return shown.as_html(self)


def as_frame(rows: list[dict[str, Any]]) -> pandas.DataFrame:
    """Rows as a DataFrame."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "to_pandas needs pandas: pip install -e '.[notebooks]' in the checkout, or pandas; rows() needs nothing"
        ) from error
    return pandas.DataFrame(rows)


def compare(
    model: str | Model = DEFAULT_MODEL,
    layouts: Sequence[LayoutSpec] | None = None,
    tokens: Sequence[int | str] | None = None,
    *,
    quality_tokens: int | str | None = None,
    whole: Sequence[LayoutSpec] | None = None,
    text: str | None = None,
    impl: str = "auto",
    dtype: Any = None,
    seed: int = 0,
    budget: Budget = Budget(),
    layers_apart: bool = False,
    weights: str | None = None,
    batch: int = 1,
    out: str | Path | None = None,
    resume: bool = False,
    again: Sequence[str] = (),
    on_record: Callable[[Record], None] = lambda _: None,
) -> Comparison:
    """Measures layouts against full attention: time, FLOPs and quality, as `prefillwall compare` does.

    Args:
        model: a `refmodel.Model`, or what `refmodel.load` opens in `dtype` (default: float32, bfloat16 on a GPU), its
            random parameters from `seed`.
        layouts: as `attention.parse_layout` reads them, of any variants of your own; `full` is added.  None: the usual
            ones.
        tokens: prompt lengths; "8k" is 8,192.
        quality_tokens: tokens of `text` for perplexity and divergence from full attention, read in one pass; 0 leaves
            quality out, which is also the default for random weights.
        whole: layouts that are timed in one piece too (default: all; the usual ones on a CPU at two lengths).
        text: what is read (default: Python's own manual).
        impl: attention, on every layer.
        budget: how long each timing samples, and samples again what spreads.
        layers_apart: time each distinct layer once, with random weights from `seed`, and multiply: for cards that do
            not hold the model, of which only the shape is used.
        weights: how they are held, as `refmodel.load` takes it: "int4", "kept"; of a `refmodel.Model` as they are.
        batch: prompts that are timed at once, successive stretches of the text; times and FLOPs are of all of them.
        out, resume: a folder that keeps `records.jsonl`, and whether to measure only what it lacks.
        again: and of what it has: "disturbed", or by name "prefill swa(5) 16", "attention" (`eval.measure.again`).
        on_record: called with each record as soon as it exists.

    Layouts that are left out and lengths that the model is not made for are said on stderr; where that is a terminal,
    and in a notebook, so is how long this will take, under a bar meanwhile.

    Returns:
        A `Comparison`; a cell that failed is in its `failures` and the others count.

    Raises:
        ValueError: in one line, a model, layouts, lengths or a text that do not go together.

    Examples:
        >>> import eval
        >>> found = eval.compare("tiny-dense", ["swa(5)"], tokens=[16], quality_tokens=16)
        >>> [(row["layout"], row["tokens"], row["attention_useful_flops"]) for row in found.rows()]
        [('full', 16, 208896), ('swa(5)', 16, 107520)]
        >>> found.rows()[1]["kl_nats"] > 0
        True
    """
    checks.whole("seed", seed, 0, checks.MOST_SEED)
    checks.whole("batch", batch, 1, MOST_BATCH)
    checks.of_kind("budget: an eval.measure.timing.Budget", budget, Budget)
    checks.of_kind("on_record: a function of a record", on_record, Callable)
    if resume and out is None:
        raise ValueError("resume goes on with what a folder has: give out")
    request = ComparisonRequest(
        model=model, layouts=layouts, tokens=tokens, quality_tokens=quality_tokens, whole=whole, text=text, impl=impl,
        dtype=dtype, seed=seed, budget=budget, layers_apart=layers_apart, weights=weights, batch=batch,
    )  # fmt: skip
    watched = sys.stderr.isatty() or in_notebook()
    with _folder(out) as folder:
        measured = run_comparison(
            request, folder, resume=resume, again=again, watched=watched, invocation=_call,
            on_plan=partial(_say_plan, watched), on_record=on_record,
        )  # fmt: skip
    return Comparison(measured.config, measured.records, measured.layouts)


def _say_plan(watched: bool, sweep: Sweep, cells: Sequence[Cell], _: Path) -> None:
    """On stderr, what to know before it runs; where somebody watches, how long it takes too."""
    for remark in remarks(sweep):
        print(remark, file=sys.stderr)
    if watched:
        print(estimate.in_words(cells, sweep.dtype, sweep.budget), file=sys.stderr)


def _call(sweep: Sweep) -> str:
    """The call that measures a sweep, as records name it."""
    layouts, lengths = [str(layout) for layout in sweep.layouts], list(sweep.lengths)
    return f"eval.compare({sweep.model.config.name!r}, {layouts}, {lengths})"


@contextlib.contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """`out`, or a folder that goes with its records once they are read."""
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _columns(one: LayoutResult, summary: Summary) -> dict[str, Any]:
    where = {"model": summary.config.name, "device": summary.device, "dtype": summary.dtype, "batch": summary.batch,
             "impl": one.impl, "layout": one.name, "tokens": one.tokens, "status": one.status}  # fmt: skip
    return where | {
        column: value for metric in METRICS.values() if metric.in_rows for column, value in metric.columns(one).items()
    }
