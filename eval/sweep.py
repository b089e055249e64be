"""The sweep: every cell of (what, layout, length), measured, recorded at once, resumed where it stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from attention.attend import attend, resolve_impl
from attention.layout import parse_variant
from attention.variant import Variant
from eval import layers_apart, records
from eval.device_work import layer_work
from eval.flops.closed_form import attention_flops, prefill_flops
from eval.layer_kernel import chained, layer_kernel
from eval.quality.divergence import final_hidden, per_token, summarise
from eval.records import Record
from eval.timing import Budget, PeakMemory, Program, compile_program, time_programs
from refmodel.config import ModelConfig
from refmodel.model import prefill
from refmodel.source import Model, available_host_bytes

FULL = "full"

CHAINED_TOKENS = 2**19
"""Tokens that one sample of a layer's attention goes through on a GPU, in calls one after the other."""


@dataclass(frozen=True)
class Text:
    """What the model reads: token ids, and where they came from."""

    name: str
    sha256: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Sweep:
    """What to measure: layouts at lengths, and quality over the text's first `quality_tokens` (0: none).

    Every layout is timed in parts, its layers' attention and the linear layers that all share; those of `whole` also
    in one piece.  With `layers_apart` each distinct layer of those is timed once instead and multiplied; the model's
    parameters are then those of `eval.layers_apart.random_layers`.
    """

    model: Model
    text: Text
    layouts: tuple[str, ...]
    whole: tuple[str, ...]
    lengths: tuple[int, ...]
    quality_tokens: int
    budget: Budget = Budget()
    impl: str = "auto"
    layers_apart: bool = False

    def __post_init__(self) -> None:
        longest = max((*self.lengths, self.quality_tokens))
        if min(self.lengths, default=0) < 1:
            raise ValueError(f"lengths must be at least one number of 1 token or more, got {list(self.lengths)}")
        if longest > len(self.text.tokens):
            raise ValueError(
                f"the text ({self.text.name}) has {len(self.text.tokens)} tokens, {longest} are asked for; give a "
                "longer --text, shorter --tokens, or fewer --quality-tokens"
            )
        for layout in self.layouts:
            for variant in dict.fromkeys(self.model.config.with_layout(layout).layout):
                variant.check_prompt(min(self.lengths))

    @property
    def dtype(self) -> Any:
        """Of parameters and activations."""
        return self.model.params["embed"]["embedding"].dtype

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The distinct variants of all layouts, full attention first."""
        found = dict.fromkeys([parse_variant(FULL)])
        for layout in self.layouts:
            found |= dict.fromkeys(self.model.config.with_layout(layout).layout)
        return tuple(found)


@dataclass(frozen=True)
class Cell:
    """Records that are measured together: `run` is given those of `names` (layouts or variants) still wanted."""

    kind: str
    names: tuple[str, ...]
    tokens: int
    run: Callable[[Sweep, tuple[str, ...], int], dict[str, Record]]
    work_flops: int


def plan(sweep: Sweep) -> list[Cell]:
    """All cells, shortest lengths first: a run that is stopped early has whole curves."""
    config = sweep.model.config
    cells = []
    for tokens in sorted(sweep.lengths):
        layer_flops = {str(v): attention_flops(v, config, tokens, count="executed") for v in sweep.variants}
        layout_flops = {
            x: sum(prefill_flops(config.with_layout(x), tokens, count="executed").values()) for x in sweep.whole
        }
        if sweep.layers_apart:
            cells += [Cell("apart", (layout,), tokens, measure_apart, layout_flops[layout]) for layout in sweep.whole]
            continue
        full_flops = prefill_flops(config, tokens)
        linear_flops = sum(full_flops.values()) - full_flops["attention"]
        cells.append(Cell("linear", (FULL,), tokens, measure_linear, linear_flops))
        cells.append(Cell("attention", tuple(layer_flops), tokens, measure_attention, sum(layer_flops.values())))
        cells += [Cell("prefill", (layout,), tokens, measure_prefill, layout_flops[layout]) for layout in sweep.whole]
    if sweep.quality_tokens and not sweep.layers_apart:
        work = len(sweep.layouts) * sum(prefill_flops(config, sweep.quality_tokens).values())
        cells.append(Cell("quality", sweep.layouts, sweep.quality_tokens, measure_quality, work))
    return cells


def run_sweep(
    sweep: Sweep,
    path: Path,
    *,
    resume: bool = False,
    on_start: Callable[[Cell], None] = lambda _: None,
    on_done: Callable[[Cell], None] = lambda _: None,
) -> Iterator[Record]:
    """Measures every cell and appends each record to `path`, yielding it.

    A cell that fails is recorded as failed and the sweep goes on; `resume` skips the records that are there.
    `on_start` and `on_done` are told of each cell, skipped ones included.
    """
    common = common_fields(sweep)
    done = {records.key(record) for record in records.read(path) if record["status"] == "ok"} if resume else set()
    for cell in plan(sweep):
        on_start(cell)
        planned = {name: _identity(sweep, common, cell, name) for name in cell.names}
        wanted = tuple(name for name, identity in planned.items() if records.key(identity) not in done)
        results = _guarded(cell, sweep, wanted) if wanted else {}
        for name in wanted:
            record = {**planned[name], **results[name], "time": records.now()}
            records.append(path, record)
            yield record
        on_done(cell)


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
    return {name: _time_prefill(sweep, model, tokens, flops, lambda q_btnh, *_, **__: q_btnh)}


def measure_attention(sweep: Sweep, names: tuple[str, ...], tokens: int) -> dict[str, Record]:
    """One layer's attention kernel of each variant, on the shapes that the layer really sees, sampled in turns."""
    config = sweep.model.config
    calls = max(1, CHAINED_TOKENS // tokens) if _on_gpu() else 1
    programs = {}
    for name in names:
        attend_fn = partial(attend, impl=sweep.impl)
        kernel, arguments = layer_kernel(config, parse_variant(name), tokens, sweep.dtype, attend=attend_fn)
        programs[name] = compile_program(chained(kernel, calls) if calls > 1 else kernel, *arguments)
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


def measure_quality(sweep: Sweep, names: tuple[str, ...], tokens: int) -> dict[str, Record]:
    """Perplexity, and divergence from full attention, over the text's first tokens in one pass."""
    model = sweep.model
    tokens_t = jnp.asarray(sweep.text.tokens[:tokens], jnp.int32)
    reference_td = final_hidden(model.config.with_layout(FULL), model.params, tokens_t)
    found = {}
    for name in names:
        other = model.with_layout(name)
        variant_td = reference_td if name == FULL else final_hidden(other.config, other.params, tokens_t)
        quality = summarise(per_token(other.config, other.params, tokens_t, reference_td, variant_td))
        found[name] = {"quality": quality.to_json(), "text": {"name": sweep.text.name, "sha256": sweep.text.sha256}}
    return found


def _time_prefill(sweep: Sweep, model: Model, tokens: int, flops: Record, attend_fn: Any) -> Record:
    tokens_bt = jnp.asarray(sweep.text.tokens[:tokens], jnp.int32)[None]
    program = compile_program(
        lambda params, tokens_bt: prefill(model.config, params, tokens_bt, attend=attend_fn), model.params, tokens_bt
    )
    _refuse_what_cannot_run(program)
    peak = PeakMemory()
    timing = time_programs({"it": program}, sweep.budget)["it"]
    return {"timing": timing, "flops": flops, "memory": {**program.memory, "rss_peak_bytes": peak.peak_bytes()}}


def _flops(sweep: Sweep, config: ModelConfig, tokens: int) -> Record:
    useful, executed = (prefill_flops(config, tokens, count=count) for count in ("useful", "executed"))
    if _on_gpu():
        choosing = executed.get("selection", 0)
        attention = sum(n * _executed_flops(sweep, variant, tokens) for variant, n in Counter(config.layout).items())
        executed = executed | {"attention": attention - choosing}
    return {"useful": useful, "executed": executed}


def _on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def _work(sweep: Sweep, variant: Variant, tokens: int) -> Any:
    return layer_work(sweep.model.config, variant, tokens, sweep.dtype, sweep.impl)


def _executed_flops(sweep: Sweep, variant: Variant, tokens: int) -> int:
    """Scores, values and selection of one layer, as it ran here: by the closed form of the XLA implementations, by the
    tiles that the Pallas kernel says it visited, and as the useful ones where a library does not tell."""
    config = sweep.model.config
    if not _on_gpu() or set(_work(sweep, variant, tokens).impls) <= {"dense", "blockwise"}:
        return attention_flops(variant, config, tokens, count="executed")
    pairs = _work(sweep, variant, tokens).visited_pairs
    if pairs is None:
        return attention_flops(variant, config, tokens)
    choosing = variant.at_length(tokens).executed(config.heads, tokens).selection_flops
    return 4 * config.head_dim * pairs + choosing


def _told(sweep: Sweep, variants: Sequence[Variant], tokens: int) -> Record:
    """On a GPU: where the executed FLOPs of these variants come from."""
    if not _on_gpu():
        return {}
    impls = dict.fromkeys(impl for variant in dict.fromkeys(variants) for impl in _work(sweep, variant, tokens).impls)
    sources = {"pallas": "visited tiles", "cudnn": "useful, it does not tell", "tokamax": "useful, it does not tell"}
    return {"executed_from": {impl: sources.get(impl, "closed form") for impl in impls}}


def _refuse_what_cannot_run(program: Program) -> None:
    """On a CPU the system would kill the process instead of raising."""
    needed = program.memory.get("temp_bytes", 0) + program.memory.get("output_bytes", 0)
    available = available_host_bytes()
    if jax.default_backend() == "cpu" and available is not None and needed > available:
        raise MemoryError(f"the program needs {needed} bytes beside its arguments, {available} are free")


def _guarded(cell: Cell, sweep: Sweep, names: tuple[str, ...]) -> dict[str, Record]:
    try:
        return {name: {"status": "ok", **record} for name, record in cell.run(sweep, names, cell.tokens).items()}
    except Exception as error:  # whatever one cell dies of, the others still count
        out_of_memory = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        failure = {
            "status": "out-of-memory" if out_of_memory else "failed",
            "error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
        }
        return dict.fromkeys(names, failure)


def common_fields(sweep: Sweep) -> Record:
    """What every record of a sweep says of the model and the machine."""
    return {
        "model": sweep.model.config.name,
        "weights": sweep.model.weights,
        "device": jax.default_backend(),
        "dtype": sweep.dtype.name,
        "environment": records.environment(),
    }


def _identity(sweep: Sweep, common: Record, cell: Cell, name: str) -> Record:
    text = {"text_sha256": sweep.text.sha256} if cell.kind == "quality" else {}
    asked = {} if cell.kind == "linear" else {"asked": sweep.impl}
    return {"kind": cell.kind, "layout": name, "tokens": cell.tokens, "impl": _impl(sweep, cell, name), **asked,
            **text, **common}  # fmt: skip


def _impl(sweep: Sweep, cell: Cell, name: str) -> str:
    """The attention implementations that run in a cell, `none` for none."""
    if cell.kind == "linear":
        return "none"
    if not _on_gpu():
        return resolve_impl(sweep.impl, cell.tokens, cell.tokens)
    variants = dict.fromkeys(sweep.model.config.with_layout(name).layout)
    try:
        return "+".join(dict.fromkeys(impl for v in variants for impl in _work(sweep, v, cell.tokens).impls))
    except Exception:  # the cell itself will say what is wrong
        return sweep.impl


def text_tokens(model: Model, text: str, name: str, sha256: str) -> Text:
    """The ids of a text; a model without a tokenizer (random weights) reads arbitrary ids of its vocabulary."""
    if model.tokenizer is not None:
        return Text(name, sha256, tuple(model.tokenizer.encode(text, add_special_tokens=False).ids))
    ids: Sequence[int] = jax.random.randint(jax.random.key(0), (2**18,), 0, model.config.vocab_size).tolist()
    return Text("random ids", "random ids, key 0", tuple(ids))
