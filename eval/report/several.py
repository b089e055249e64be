"""Several comparisons side by side: of several models, of several batches, or of both."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attention import checks
from attention.layout import LayoutSpec
from eval.measure.records.bounds import MOST_BATCH
from eval.report import shown
from eval.report.comparison import Comparison, as_frame, compare
from eval.report.metrics import METRICS
from eval.report.number_format import count
from eval.report.run_facts import crossovers
from eval.report.summary import Summary
from eval.report.table import Table
from refmodel.source import Model

if TYPE_CHECKING:
    import pandas

M = TypeVar("M", bound=str | Model)

COLUMNS = ("prefill_ms", "prefill_tokens_per_s", "speed_up", "useful_reduction", "realisation",
           "read_perplexity_change", "read_kl_nats")  # fmt: skip


@dataclass(frozen=True, repr=False)
class Comparisons:
    """What `compare_models` measured, one comparison for each model and batch.

    Examples:
        >>> from eval import Comparison
        >>> from eval.report.several import Comparisons
        >>> from refmodel.presets import preset
        >>> Comparisons((Comparison(preset("tiny-dense"), records=()),)).rows()
        []
    """

    each: tuple[Comparison, ...]

    def rows(self) -> list[dict[str, Any]]:
        """`Comparison.rows` of each, one after the other; `model` and `batch` tell them apart."""
        return [row for compared in self.each for row in compared.rows()]

    def to_pandas(self) -> pandas.DataFrame:
        """`rows` as a DataFrame.  Raises `ImportError` with what to install where pandas is missing."""
        return as_frame(self.rows())

    def table(self) -> Table:
        """Each layout of each at the longest prompt that was timed whole."""
        rows = [row for compared in self.each for summary in compared.summaries for row in _rows(summary)]
        header = ("model", "batch", "layout", "tokens", *(METRICS[name].title for name in COLUMNS), "N by FLOPs")
        note = "Each at its longest prompt that was timed whole, beside full attention of the same model and batch. N: \
tokens from which attention asks for more FLOPs than all linear layers."
        return Table("Side by side", header, tuple(rows), note, words=(0, 2), keys=(1, 3))

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.each))

    def _repr_html_(self) -> str:
        return shown.table_as_html(self.table())


def _rows(summary: Summary) -> Iterator[tuple[str, ...]]:
    _, by_flops = crossovers(summary)
    for one in summary.at_longest().results:
        if one.whole_ms:
            cells = (METRICS[name].cell(one) for name in COLUMNS)
            crossed = by_flops[one.name]
            told = "never" if crossed is None else count(crossed)
            yield summary.config.name, count(summary.batch), one.name, count(one.tokens), *cells, told


def each_of(models: Sequence[M], batches: Sequence[int]) -> list[tuple[M, int, str]]:
    """Each model with each batch, and the name of the folder that keeps it: `qwen3-0.6b`, `qwen3-0.6b-batch-4`.

    Raises `ValueError` for none, and for two that would share a folder.
    """
    for name, given in (("models", models), ("batches", batches)):
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ValueError(f"{name} is a list of one or more, got {given!r}")
    found: dict[str, tuple[M, int, str]] = {}
    for model, batch in itertools.product(models, (checks.whole("batch", one, 1, MOST_BATCH) for one in batches)):
        called = model.config.name if isinstance(model, Model) else str(model)
        folder = re.sub(r"[^A-Za-z0-9_.]+", "-", called).strip("-.") + (f"-batch-{batch}" if len(batches) > 1 else "")
        if folder in found:
            raise ValueError(f"{called} with batch {batch} is there already: name each model and batch once")
        found[folder] = model, batch, folder
    return list(found.values())


def compare_models(
    models: Sequence[str | Model],
    layouts: Sequence[LayoutSpec] | None = None,
    tokens: Sequence[int | str] | None = None,
    *,
    batches: Sequence[int] = (1,),
    out: str | Path | None = None,
    **options: Any,
) -> Comparisons:
    """Measures each model with each batch as `eval.compare` does, one after the other.

    Args:
        models, layouts, tokens: as `eval.compare` takes one model, layouts and lengths.
        batches: prompts that are timed at once.
        out: a folder, in which each comparison keeps its records in one of its own.
        options: of `eval.compare`, for each.

    Raises:
        ValueError: as `eval.compare` does; what was measured before is kept in `out`.

    Examples:
        >>> import eval
        >>> found = eval.compare_models(["tiny-dense", "tiny-moe"], ["swa(5)"], [16], batches=[1, 3])
        >>> sorted({(row["model"], row["batch"]) for row in found.rows()})
        [('tiny-dense', 1), ('tiny-dense', 3), ('tiny-moe', 1), ('tiny-moe', 3)]
    """
    asked = each_of(models, batches)
    folders = [None if out is None else Path(out) / folder for _, _, folder in asked]
    return Comparisons(
        tuple(
            compare(model, layouts, tokens, batch=batch, out=folder, **options)
            for (model, batch, _), folder in zip(asked, folders, strict=True)
        )
    )
