"""A comparison from what was asked for to its records: the one way that the command and `eval.compare` go."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention.checks import float_dtype
from attention.layout import LayoutSpec
from eval.measure.again import refuse_unplanned, refuse_words
from eval.measure.default_sweep import usual_sweep
from eval.measure.device import open_device
from eval.measure.interrupt import held
from eval.measure.layers_apart import random_layers
from eval.measure.named_layout import NamedLayout
from eval.measure.plan import Cell, Sweep, plan
from eval.measure.progress import say_foreign, say_set_aside, watched_sweep
from eval.measure.records import file
from eval.measure.records.schema import Record
from eval.measure.refuse_impl import refuse_impl, refuse_several_heads
from eval.measure.refuse_layouts import refuse_layouts
from eval.measure.resume import layout_names
from eval.measure.sweep import missing_cells, records_file, run_of
from eval.measure.timing import Budget
from refmodel.checkpoint.find import find_checkpoint, open_config
from refmodel.checkpoint.packing import weights_named
from refmodel.presets import refuse_to_run
from refmodel.room import refuse_what_cannot_fit
from refmodel.source import Model, read_model
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    OnPlan = Callable[[Sweep, Sequence[Cell], Path], None]


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """What to compare; None takes the default of the device and the model.  See `eval.compare`."""

    model: str | Model
    layouts: Sequence[LayoutSpec] | None = None
    tokens: Sequence[int | str] | None = None
    quality_tokens: int | str | None = None
    whole: Sequence[LayoutSpec] | None = None
    text: str | None = None
    text_name: str = "text"
    impl: str = "auto"
    device: str | None = None
    dtype: Any = None
    seed: int = 0
    budget: Budget = Budget()
    layers_apart: bool = False
    weights: str | None = None
    batch: int = 1


@dataclass(frozen=True)
class MeasuredComparison:
    """The records of a comparison, of one model under the layouts at hand."""

    config: ModelConfig
    records: tuple[Record, ...]
    layouts: tuple[NamedLayout, ...]


def run_comparison(
    request: ComparisonRequest,
    folder: Path,
    *,
    resume: bool = False,
    again: Sequence[str] = (),
    watched: bool = False,
    invocation: Callable[[Sweep], str],
    on_plan: OnPlan = lambda *_: None,
    on_record: Callable[[Record], None] = lambda _: None,
) -> MeasuredComparison:
    """Measures what `folder` lacks of a comparison and what of it is named `again`, appending to its records.

    `on_plan` is told of the sweep, the cells that are missing and the file before anything is measured; records name
    the command or call `invocation`.  An interrupt ends it, as `KeyboardInterrupt`: at once while a model is
    fetched and read, and between two programs from then on.  Raises `ValueError`, before a file is touched, for `again`
    (`eval.measure.again`) without `resume` or of what the comparison does not measure.
    """
    refuse_words(again)
    if again and not resume:
        raise ValueError("again (--again) measures again some of what resume (--resume) keeps: give both")
    file.refuse_place(folder)
    sweep = planned(request)
    refuse_unplanned(again, plan(sweep), layout_names(sweep))
    with held():
        run = run_of(sweep, invocation(sweep))
        with records_file(
            sweep, folder, run, resume=resume, on_set_aside=say_set_aside, on_foreign=say_foreign
        ) as path:
            cells = missing_cells(sweep, path, run, again)
            on_plan(sweep, cells, path)
            for record in watched_sweep(sweep, cells, path, run, watched=watched):
                on_record(record)
            return MeasuredComparison(sweep.model.config, tuple(file.latest(file.read(path))), sweep.layouts)


def planned(request: ComparisonRequest) -> Sweep:
    """The sweep of a request, its model opened.

    Raises `ValueError` in one line for what does not go together; an implementation that cannot run here, a model
    with heads of several sizes and a layout that the model cannot have before the weights are read.
    """
    model = _model(request)
    with held():
        return usual_sweep(
            model, request.layouts, request.tokens, whole=request.whole, quality_tokens=request.quality_tokens,
            text=request.text, text_name=request.text_name, impl=request.impl, budget=request.budget,
            layers_apart=request.layers_apart, batch=request.batch,
        )  # fmt: skip


def _model(request: ComparisonRequest) -> Model:
    on_gpu, model = open_device(request.device), request.model
    if isinstance(model, Model) and not request.layers_apart:
        if request.weights is not None:
            raise ValueError(
                f"weights of a refmodel.Model are held as they are: load it with weights={request.weights!r}"
            )
        refuse_several_heads(model.config)
        return model
    if isinstance(model, Model) and model.held.format and request.weights is None:
        raise ValueError(
            f"layers apart draw weights of their own: name a format (weights of this model: {model.held.format})"
        )
    if not isinstance(model, str | Model):
        raise ValueError(f"a model is named by text or is a refmodel.Model, got {reprlib.repr(model)}")
    dtype = float_dtype(request.dtype or ("bfloat16" if on_gpu else "float32")).type
    weights = weights_named(request.weights)
    refuse_impl(request.impl, dtype)
    if isinstance(model, str) and not request.layers_apart:
        found = find_checkpoint(model, request.seed)
        _refuse_unfit(request, found.described, trained=found.weights == "checkpoint")
        if isinstance(request.text, str) or (request.quality_tokens and found.weights == "checkpoint"):
            found.tokenizer()  # a missing one is refused before weights are read
        if found.weights == "checkpoint":
            return read_model(found, model, dtype, weights)
        with held():  # weights are drawn by compiled programs
            return read_model(found, model, dtype, weights)
    if request.text is not None:
        raise ValueError("layers apart are no model that reads a text: leave it out, or time the whole model")
    config = open_config(model) if isinstance(model, str) else model.config
    _refuse_unfit(request, config, trained=False)
    refuse_to_run(config)
    if isinstance(weights, str):
        raise ValueError(f"layers apart have random weights, none of which is {weights}: name a format")
    refuse_what_cannot_fit(config, dtype, weights, apart=True)
    with held():
        params = random_layers(config, request.seed, dtype, weights)
        return Model(config, params, None, f"random (seed {request.seed})")


def refuse_unfit(request: ComparisonRequest) -> None:
    """Raises `ValueError` for a named model that cannot be what a request asks for, from its description alone."""
    if isinstance(request.model, str):
        found = find_checkpoint(request.model, request.seed)
        _refuse_unfit(request, found.described, trained=found.weights == "checkpoint")


def _refuse_unfit(request: ComparisonRequest, config: ModelConfig, *, trained: bool) -> None:
    """Raises `ValueError` for a model with heads of several sizes, and for a layout that it cannot have."""
    refuse_several_heads(config)
    for given in (request.layouts, request.whole):
        if isinstance(given, list | tuple):  # `usual_sweep` refuses others
            refuse_layouts(given, config, trained=trained)
