"""What was run, on what, and by which convention: the head of every report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eval.cost.crossover import crossover_tokens
from eval.measure.again import spreads
from eval.measure.named_layout import NamedLayout, unseen_losses
from eval.measure.records.environment import Environment
from eval.measure.records.schema import NO_IMPL, Record
from eval.measure.timing import MOST_SPREAD
from eval.report.crossover_fit import MOST_MISFIT, Crossover, linear_misfit, measured_crossover
from eval.report.linear_times import linear_samples
from eval.report.settings import in_words, programs_apart
from eval.report.summary import Summary
from refmodel.specification import ModelConfig

CONVENTION = """\
Convention `layers`: the linear part is attention projections, router, and experts or feed-forward of all layers, \
2 FLOPs per active parameter and token; the head, on the last token only, is counted apart. Attention is scores \
and values over exact causal pairs. *Useful* FLOPs are those of visible pairs, *executed* those of the tiles that ran. \
The timed linear part is the whole prefill without the attention kernels: norms, rotary positions and the head are in \
it."""

NOTHING_MEASURED = "Nothing could be measured: no layout has a time or a quality. The failed cells say why."

UNTOLD_COMMAND = "Some records do not tell the command that measured them."

Crossovers = tuple[Mapping[str, Crossover], Mapping[str, int | None]]
"""By layout: the measured crossover, and the analytic one."""

MOST_APART = 0.3
"""How far the sum of the parts, timed apart, may be from the whole before the times are called into question."""

LEAST_MS = 100.0
"""A shorter prefill is in good part the start of its programs, which the parts pay once each."""


def cautions(summary: Summary) -> list[str]:
    """What to know before any figure of a summary is believed."""
    left_out = _of_no_layout(summary.unnamed_variants)
    if summary.is_empty:
        return left_out or [NOTHING_MEASURED]
    disturbed = _of_several_programs(summary) + _scatter(summary)
    return left_out + disturbed + _do_not_fit_together(summary) + _are_no_line(summary) + _says_little_of_use(summary)


def _of_several_programs(summary: Summary) -> list[str]:
    apart = programs_apart(summary.records)
    if not apart:
        return []
    told = "; ".join(f"{name} {', '.join(values)}" for name, values in apart.items())
    return [f"Compared although the records were made by several programs: {told}."]


def _scatter(summary: Summary) -> list[str]:
    """Samples that spread by more than `eval.measure.timing.MOST_SPREAD`, though more of them were taken."""
    of_each = [one for record in summary.records for one in spreads(record)]
    wide = [one for one in of_each if one[0] > MOST_SPREAD]
    if not wide:
        return []
    _, worst = max(wide)
    return [
        f"The samples of {len(wide)} of {len(of_each)} timings spread by more than {100 * MOST_SPREAD:.0f} % of their "
        f"median (the middle half of them; most: {worst}). `prefillwall compare --resume --again disturbed`, with the "
        "arguments of the run, measures them again."
    ]


def _says_little_of_use(summary: Summary) -> list[str]:
    """That times alone do not choose a layout."""
    config, said = summary.config, []
    beyond = sorted({row.tokens for row in summary.results if row.tokens > config.max_positions})
    if beyond:
        said.append(
            f"Beyond the {config.max_positions:,} tokens that {config.name} is made for: "
            f"{', '.join(f'{tokens:,}' for tokens in beyond)}. Times and FLOPs hold there."
        )
    if not any(row.quality for row in summary.results):
        said.append("No quality was measured: these figures do not say what a layout loses.")
    read = dict.fromkeys(row.layout for row in summary.results if row.quality)
    return [*said, *unseen_losses(read)]


def _of_no_layout(variants: Sequence[str]) -> list[str]:
    if not variants:
        return []
    return [
        f"Left out, for attention was timed and no record names the layout that it is of: {', '.join(variants)}. "
        "`prefillwall compare --resume` with the layout in --layouts names it."
    ]


def _do_not_fit_together(summary: Summary) -> list[str]:
    off = {
        (row.name, row.tokens): (row.linear_ms.median + row.attention_ms.median) / row.whole_ms.median - 1
        for row in summary.results
        if row.whole_ms and row.whole_ms.median >= LEAST_MS and row.linear_ms and row.attention_ms
    }
    too_far = {cell: change for cell, change in off.items() if abs(change) > MOST_APART}
    if not too_far:
        return []
    experts = ", or its parts are given more experts than a short prompt reads" if summary.config.has_experts else ""
    layout, tokens = worst = max(too_far, key=lambda cell: abs(too_far[cell]))
    return [
        f"The times do not fit together: in {len(too_far)} of {len(off)} whole prefills linear + attention, timed "
        f"apart, is more than {100 * MOST_APART:.0f} % off the whole (most at {layout}, {tokens:,} tokens: "
        f"{100 * too_far[worst]:+.0f} %). The machine was disturbed or is noisy{experts}: measure again "
        f"(`--resume --again 'prefill {tokens}'`) before you rely on gains and crossovers."
    ]


def _are_no_line(summary: Summary) -> list[str]:
    misfit = linear_misfit(linear_samples(summary))
    if misfit is None or misfit <= MOST_MISFIT:
        return []
    return [
        f"The times of the linear layers are {100 * misfit:,.0f} % off a line over the lengths: the machine was "
        "disturbed or is noisy, or something else paces short prompts. Measure again before you rely on gains and "
        "crossovers."
    ]


def crossovers(summary: Summary) -> Crossovers:
    """Per layout: the measured crossover and the analytic one."""
    measured = {layout.name: measured_crossover(summary, layout) for layout in summary.layouts}
    return measured, {layout.name: crossover_tokens(summary.under(layout)) for layout in summary.layouts}


def heading(summary: Summary) -> str:
    """Which of several settings a summary is of."""
    return f"{summary.config.name}, {in_words(summary.records)}, attention {summary.impl or 'not run'}"


def layouts_of(summaries: Iterable[Summary]) -> list[NamedLayout]:
    """Of all summaries, each once."""
    return list(dict.fromkeys(layout for summary in summaries for layout in summary.layouts))


def commands(records: Iterable[Record], command: str) -> list[str]:
    """Those that measured the records, as far as they tell, and the one that draws."""
    return list(dict.fromkeys([*(record.run.invocation for record in records if record.run.invocation), command]))


def run_facts(records: Iterable[Record], config: ModelConfig) -> list[dict[str, str]]:
    """Name and value of each fact about the run: once for each environment among the records."""
    environments: dict[Environment, list[Record]] = {}
    for record in records:
        environments.setdefault(record.run.environment, []).append(record)
    return [_environment(where, found, config) for where, found in environments.items()]


def _environment(where: Environment, records: Sequence[Record], config: ModelConfig) -> dict[str, str]:
    def distinct(values: Iterable[str], between: str = ", ") -> str:
        return between.join(dict.fromkeys(values))

    runs = [record.run for record in records]
    model, dtype = (distinct(getattr(run, name) for run in runs) for name in ("model", "dtype"))
    reading = [record.run for record in records if record.kind != "attention"]  # one layer's attention reads none
    weights = distinct((run.weights for run in reading or runs), "; ")
    times = sorted(record.time for record in records)
    changed = " with local changes" if where.git_dirty else ""
    return {
        "model": f"{model}, {config.n_layers} layers, {weights} weights, {dtype}",
        "device": f"{where.device_kind} ({where.cpu}, {where.cores} cores)",
        "attention": distinct(record.impl for record in records if record.impl != NO_IMPL),
        "versions": ", ".join(f"{name} {getattr(where, name)}" for name in ("python", "jax", "jaxlib", "flax")),
        "commit": f"{where.git_commit or 'unknown'}{changed}",
        "XLA flags": where.xla_flags or "none",
        "measured": f"{times[0]} to {times[-1]}, {len(records)} records",
    }
