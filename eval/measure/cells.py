"""The measurements of a comparison: one function for each kind of cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp

from attention.attend import attend
from attention.full import FULL
from attention.layout import parse_variant
from attention.variant import Variant
from eval.cost.flops.closed_form import attention_flops, prefill_flops
from eval.measure import layers_apart
from eval.measure.device_work import layer_work, selection_flops
from eval.measure.layer_program import chained, layer_kernel, no_attention
from eval.measure.plan import Sweep
from eval.measure.records import UNTOLD, Record
from eval.measure.timing import PeakMemory, compile_program, time_programs
from eval.quality.divergence import final_hidden, per_token, summarise
from refmodel.config import ModelConfig
from refmodel.model import prefill
from refmodel.source import Model

CHAINED_TOKENS = 2**19
"""Tokens that one sample of a layer's attention goes through on a GPU, in calls one after the other."""


def measure_prefill(sweep: Sweep, names: tuple[str, ...], tokens: int) -> dict[str, Record]:
    """The whole model, one shot, last-token logits."""
    (name,) = names
    model = sweep.model.with_layout(name)
    attend_fn = partial(attend, impl=sweep.impl)
    found = _time_prefill(sweep, model, tokens, _flops(sweep, model.config, tokens), attend_fn)
    return {name: found | _told(sweep, model.config.layout, tokens)}


def measure_apart(sweep: Sweep, names: tuple[str, ...], tokens: int) -> dict[str, Record]:
    """Each distinct layer once, times how often the layout has it, and what is outside the layers."""
    (name,) = names
    config = sweep.model.config.with_layout(name)
    tokens_bt = jnp.asarray(sweep.text.tokens[:tokens], jnp.int32)[None]
    attend_fn = partial(attend, impl=sweep.impl)
    found = layers_apart.measure(config, sweep.model.params, tokens_bt, attend_fn, sweep.budget)
    return {name: {**found, "flops": _flops(sweep, config, tokens), **_told(sweep, config.layout, tokens)}}


def measure_linear(sweep: Sweep, names: tuple[str, ...], tokens: int) -> dict[str, Record]:
    """The whole model with the attention kernel left out: all that grows as N."""
    (name,) = names
    model = sweep.model.with_layout(name)
    flops = {count: prefill_flops(model.config, tokens, count=count) for count in ("useful", "executed")}
    for counted in flops.values():
        counted.pop("attention")
    return {name: _time_prefill(sweep, model, tokens, flops, no_attention)}


def measure_attention(sweep: Sweep, names: tuple[str, ...], tokens: int) -> dict[str, Record]:
    """One layer's attention kernel of each variant, on the shapes that the layer really sees, sampled in turns."""
    config = sweep.model.config
    calls = max(1, CHAINED_TOKENS // tokens) if on_gpu() else 1
    programs, inputs = {}, None
    for name in names:
        attend_fn = partial(attend, impl=sweep.impl)
        kernel, (inputs, params) = layer_kernel(
            config, parse_variant(name), tokens, sweep.dtype, attend=attend_fn, inputs=inputs
        )
        programs[name] = compile_program(chained(kernel, calls), inputs, params)
    timings = time_programs(programs, replace(sweep.budget, min_samples=max(5, sweep.budget.min_samples)))
    for timing in timings.values():
        timing["samples_ms"] = [ms / calls for ms in timing["samples_ms"]]
    return {
        name: {
            "variant": name,
            "calls_per_sample": calls,
            "timing": timings[name],
            "memory": dict(programs[name].memory),
            "flops": {
                "useful": {"attention": attention_flops(parse_variant(name), config, tokens)},
                "executed": {"attention": _executed_flops(sweep, parse_variant(name), tokens)},
            },
            **_told(sweep, (parse_variant(name),), tokens),
        }
        for name in names
    }


def measure_quality(
    sweep: Sweep, names: tuple[str, ...], tokens: int, on_read: Callable[[], None] = lambda: None
) -> dict[str, Record]:
    """Perplexity, and divergence from full attention, over the text's first tokens in one pass.

    `on_read` is told of each layout that is done.
    """
    model = sweep.model
    tokens_t = jnp.asarray(sweep.text.tokens[:tokens], jnp.int32)
    reference_td = _final_hidden(model.with_layout(FULL), tokens_t)
    found = {}
    for name in names:
        other = model.with_layout(name)
        variant_td = reference_td if name == FULL else _final_hidden(other, tokens_t)
        quality = summarise(per_token(other.config, other.params, tokens_t, reference_td, variant_td))
        found[name] = {"quality": quality.to_json(), "text": {"name": sweep.text.name, "sha256": sweep.text.sha256}}
        on_read()
    return found


def _final_hidden(model: Model, tokens_t: jax.Array) -> jax.Array:
    """Final hidden states, if there is room for them."""
    program = compile_program(partial(final_hidden, model.config), model.params, tokens_t)
    return program.compiled(*program.arguments)


def _time_prefill(sweep: Sweep, model: Model, tokens: int, flops: Record, attend_fn: Any) -> Record:
    tokens_bt = jnp.asarray(sweep.text.tokens[:tokens], jnp.int32)[None]
    program = compile_program(
        lambda params, tokens_bt: prefill(model.config, params, tokens_bt, attend=attend_fn), model.params, tokens_bt
    )
    peak = PeakMemory()
    timing = time_programs({"it": program}, sweep.budget)["it"]
    return {"timing": timing, "flops": flops, "memory": {**program.memory, "rss_peak_bytes": peak.peak_bytes()}}


def _flops(sweep: Sweep, config: ModelConfig, tokens: int) -> Record:
    useful, executed = (prefill_flops(config, tokens, count=count) for count in ("useful", "executed"))
    if on_gpu():
        layers = Counter(config.layout).items()
        choosing = sum(n * _selection_flops(sweep, variant, tokens) for variant, n in layers)
        attention = sum(n * _executed_flops(sweep, variant, tokens) for variant, n in layers) - choosing
        executed = executed | {"attention": attention} | ({"selection": choosing} if choosing else {})
    return {"useful": useful, "executed": executed}


def on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def work_of(sweep: Sweep, variant: Variant, tokens: int) -> Any:
    return layer_work(sweep.model.config, variant, tokens, sweep.dtype, sweep.impl)


def _executed_flops(sweep: Sweep, variant: Variant, tokens: int) -> int:
    """Scores, values and selection of one layer, as it ran here: by the closed form of the XLA implementations, by the
    tiles that the Pallas kernel says it visited, and as the useful ones where a library does not tell."""
    config = sweep.model.config
    if not on_gpu() or set(work_of(sweep, variant, tokens).impls) <= {"dense", "blockwise"}:
        return attention_flops(variant, config, tokens, count="executed")
    pairs = work_of(sweep, variant, tokens).visited_pairs
    if pairs is None:
        return attention_flops(variant, config, tokens)
    return 4 * config.head_dim * pairs + _selection_flops(sweep, variant, tokens)


def _selection_flops(sweep: Sweep, variant: Variant, tokens: int) -> int:
    return selection_flops(sweep.model.config, variant, tokens, sweep.dtype, sweep.impl)


def _told(sweep: Sweep, variants: Sequence[Variant], tokens: int) -> Record:
    """On a GPU: where the executed FLOPs of these variants come from."""
    if not on_gpu():
        return {}
    impls = dict.fromkeys(impl for variant in dict.fromkeys(variants) for impl in work_of(sweep, variant, tokens).impls)
    sources = {"pallas": "visited tiles", "mosaic": "visited tiles", "cudnn": UNTOLD, "tokamax": UNTOLD}
    return {"executed_from": {impl: sources.get(impl, "closed form") for impl in impls}}


Measure = Callable[[Sweep, tuple[str, ...], int], dict[str, Record]]

MEASURES: Final[Mapping[str, Measure]] = MappingProxyType(
    {
        "linear": measure_linear,
        "attention": measure_attention,
        "prefill": measure_prefill,
        "apart": measure_apart,
        "quality": measure_quality,
    }
)
"""By the kind of cell: records by layout or variant, of those of a cell's that are still wanted."""
