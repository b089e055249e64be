"""The measurements of a comparison: one function for each kind of cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp

from attention.attend import attend
from attention.backends.registry import BACKENDS
from attention.mixer import Mixer
from eval.cost.flops.closed_form import attention_flops, prefill_flops
from eval.measure import layers_apart
from eval.measure.device_work import layer_work, selection_flops
from eval.measure.finite import refuse_no_numbers
from eval.measure.in_turns import Failure, compile_each, time_in_turns
from eval.measure.interrupt import breathe
from eval.measure.layer_program import chained, layer_kernel, no_attention
from eval.measure.named_layout import NamedLayout
from eval.measure.peak_memory import PeakMemory
from eval.measure.plan import Sweep
from eval.measure.records.schema import UNTOLD, Findings, FlopCounts, Kind, ProgramMemory
from eval.measure.timing import Program, Timing, compile_program
from eval.quality.divergence import final_hidden, per_token, summarise
from refmodel.model import prefill
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from refmodel.source import Model

CHAINED_TOKENS = 2**19
"""Tokens that one sample of a layer's attention goes through on a GPU, in calls one after the other."""

Layouts = Sequence[NamedLayout]
Found = dict[NamedLayout, Findings]
Tried = dict[NamedLayout, Findings | Failure]


def measure_prefill(sweep: Sweep, layouts: Layouts, tokens: int) -> Tried:
    """The whole model under each layout, one shot, last-token logits, sampled in turns."""

    def counts(layout: NamedLayout) -> Findings:
        flops = _flops(sweep, sweep.model.config.with_layout(layout.variants), tokens)
        return Findings(flops=flops, executed_from=_executed_from(sweep, layout, tokens))

    return _time_prefills(sweep, layouts, tokens, partial(attend, impl=sweep.impl), counts, refuse_no_numbers)


def measure_apart(sweep: Sweep, layouts: Layouts, tokens: int) -> Found:
    """Each distinct layer once, times how often the layout has it, and what is outside the layers."""
    (layout,) = layouts
    config = sweep.model.config.with_layout(layout.variants)
    tokens_bt = jnp.asarray(sweep.prompts(tokens))
    attend_fn = partial(attend, impl=sweep.impl)
    found = layers_apart.measure(config, sweep.model.params, tokens_bt, attend_fn, sweep.budget)
    flops = _flops(sweep, config, tokens)
    return {layout: replace(found, flops=flops, executed_from=_executed_from(sweep, layout, tokens))}


def measure_linear(sweep: Sweep, layouts: Layouts, tokens: int) -> Tried:
    """The whole model with the attention kernel left out: all that grows as N."""

    def counts(layout: NamedLayout) -> Findings:
        useful, executed = _counted(sweep, sweep.model.config.with_layout(layout.variants), tokens)
        for counted in (useful, executed):
            counted.pop("attention")
        return Findings(flops=FlopCounts(useful, executed))

    return _time_prefills(sweep, layouts, tokens, no_attention, counts)


def measure_attention(sweep: Sweep, layouts: Layouts, tokens: int) -> Tried:
    """One layer's attention kernel of each variant, on the shapes that the layer really sees, sampled in turns."""
    config = sweep.model.config
    calls = max(1, CHAINED_TOKENS // (sweep.batch * tokens)) if on_gpu() else 1
    attend_fn, inputs = partial(attend, impl=sweep.impl), None

    def compiled(layout: NamedLayout) -> Program:
        nonlocal inputs  # drawn once
        (variant,) = layout.variants
        kernel, (inputs, params) = layer_kernel(
            config, variant, tokens, sweep.dtype, attend=attend_fn, batch=sweep.batch, inputs=inputs
        )
        return compile_program(chained(kernel, calls), inputs, params)

    def found(layout: NamedLayout, program: Program, timing: Timing) -> Findings:
        (variant,) = layout.variants
        useful = attention_flops(variant, config, tokens)
        executed = _executed_flops(sweep, variant, tokens)
        return Findings(
            timing=_of_one_call(timing, calls),
            calls_per_sample=calls,
            memory=ProgramMemory(**program.memory),
            flops=FlopCounts({"attention": sweep.batch * useful}, {"attention": sweep.batch * executed}),
            executed_from=_executed_from(sweep, layout, tokens),
        )

    asked = sweep.budget  # a layer's first run is cold, so that it alone would not be enough
    samples = max(asked.min_samples, min(5, asked.max_samples))
    budget = replace(asked, min_samples=samples, long_samples=samples)
    return time_in_turns(compile_each(layouts, compiled), found, budget)


def _of_one_call(timing: Timing, calls: int) -> Timing:
    return replace(timing, samples_ms=tuple(ms / calls for ms in timing.samples_ms))


def measure_quality(sweep: Sweep, layouts: Layouts, tokens: int, on_read: Callable[[], None] = lambda: None) -> Found:
    """Perplexity, and divergence from full attention, over the text's first tokens in one pass.

    `on_read` is told of each layout that is done.
    """
    tokens_t, model = jnp.asarray(sweep.text.tokens[:tokens], jnp.int32), sweep.model
    reference_td = _final_hidden(model.with_layout(sweep.full.variants), tokens_t)
    found = {}
    for layout in layouts:
        breathe()
        other = model.with_layout(layout.variants)
        variant_td = reference_td if layout.is_full else _final_hidden(other, tokens_t)
        # The head is every layout's: with the model's own configuration it is compiled once, not for each.
        quality = summarise(per_token(model.config, model.params, tokens_t, reference_td, variant_td))
        found[layout] = Findings(quality=quality)
        on_read()
    return found


def _final_hidden(model: Model, tokens_t: jax.Array) -> jax.Array:
    """Final hidden states, if there is room for them."""
    program = compile_program(partial(final_hidden, model.config), model.params, tokens_t)
    return program.compiled(*program.arguments)


def _time_prefills(
    sweep: Sweep, layouts: Layouts, tokens: int, attend_fn: Any, counts: Callable[[NamedLayout], Findings],
    check: Callable[[Any], None] = lambda _: None,
) -> Tried:  # fmt: skip
    """`counts` of each, with its timing and memory."""
    tokens_bt = jnp.asarray(sweep.prompts(tokens))

    def compiled(layout: NamedLayout) -> Program:
        model = sweep.model.with_layout(layout.variants)
        whole = partial(prefill, model.config, attend=attend_fn)
        return compile_program(whole, model.params, tokens_bt, check=check)

    programs = compile_each(layouts, compiled)
    memory, peak_bytes = PeakMemory(), {layout.name: 0 for layout in layouts}

    def note(name: str) -> None:
        peak_bytes[name] = max(peak_bytes[name], memory.peak_bytes() or 0)
        memory.reset()

    def found(layout: NamedLayout, program: Program, timing: Timing) -> Findings:
        peak = peak_bytes[layout.name] or None
        return replace(counts(layout), timing=timing, memory=ProgramMemory(**program.memory, rss_peak_bytes=peak))

    return time_in_turns(programs, found, sweep.budget, note)


def _flops(sweep: Sweep, config: ModelConfig, tokens: int) -> FlopCounts:
    useful, executed = _counted(sweep, config, tokens)
    if on_gpu():
        layers = Counter(variant for variant in config.layout if variant.component == "attention").items()
        choosing = sum(n * _selection_flops(sweep, variant, tokens) for variant, n in layers)
        attention = sum(n * _executed_flops(sweep, variant, tokens) for variant, n in layers) - choosing
        executed = executed | {"attention": sweep.batch * attention}
        executed |= {"selection": sweep.batch * choosing} if choosing else {}
    elif _is_untold(sweep):
        executed = useful
    return FlopCounts(useful, executed)


def _counted(sweep: Sweep, config: ModelConfig, tokens: int) -> tuple[dict[str, int], dict[str, int]]:
    """Useful FLOPs, and those that the implementation that was asked for executes, in closed form."""
    return (
        prefill_flops(config, tokens, count="useful", batch=sweep.batch),
        prefill_flops(config, tokens, count="executed", impl=sweep.impl, batch=sweep.batch),
    )


def on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def work_of(sweep: Sweep, variant: Mixer, tokens: int) -> Any:
    return layer_work(sweep.model.config, variant, tokens, sweep.dtype, sweep.impl)


def _executed_flops(sweep: Sweep, variant: Mixer, tokens: int) -> int:
    """Scores, values and selection of one layer, as it ran here: by the closed form of the XLA implementations, by the
    tiles that the Pallas kernel says it visited, and as the useful ones where a library does not tell."""
    config = sweep.model.config
    if not on_gpu() and _is_untold(sweep):
        return attention_flops(variant, config, tokens)
    if not on_gpu() or all(BACKENDS[impl].counts == "closed form" for impl in work_of(sweep, variant, tokens).impls):
        return attention_flops(variant, config, tokens, count="executed", impl=sweep.impl)
    pairs = work_of(sweep, variant, tokens).visited_pairs
    if pairs is None:
        return attention_flops(variant, config, tokens)
    return 4 * config.head_dim * pairs + _selection_flops(sweep, variant, tokens)


def _is_untold(sweep: Sweep) -> bool:
    """Whether a backend was asked for that does not say what it executes."""
    asked = BACKENDS.get(sweep.impl)
    return asked is not None and asked.counts == "not told"


def _selection_flops(sweep: Sweep, variant: Mixer, tokens: int) -> int:
    return selection_flops(sweep.model.config, variant, tokens, sweep.dtype, sweep.impl)


def _executed_from(sweep: Sweep, layout: NamedLayout, tokens: int) -> dict[str, str]:
    """Where the executed FLOPs of a layout's variants come from: on a GPU; on a CPU, that a backend does not tell."""
    if not on_gpu():
        return {sweep.impl: UNTOLD} if _is_untold(sweep) else {}
    impls = dict.fromkeys(impl for variant in layout.counts for impl in work_of(sweep, variant, tokens).impls)
    counts = {impl: BACKENDS[impl].counts for impl in impls}
    return {impl: UNTOLD if source == "not told" else source for impl, source in counts.items()}


Measure = Callable[[Sweep, Layouts, int], Mapping[NamedLayout, Findings | Failure]]

MEASURES: Final[Mapping[Kind, Measure]] = MappingProxyType(
    {
        "linear": measure_linear,
        "attention": measure_attention,
        "prefill": measure_prefill,
        "apart": measure_apart,
        "quality": measure_quality,
    }
)
"""By the kind of cell: what was found of those of its layouts that are still wanted, or what one of them died of."""
