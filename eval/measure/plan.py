"""What a comparison measures: layouts at lengths on a text, as cells that can be measured one after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from attention.checks import whole
from attention.full import FULL
from eval.cost.flops.closed_form import attention_flops, prefill_flops
from eval.measure.interrupt import breathe
from eval.measure.named_layout import NamedLayout
from eval.measure.records.bounds import MOST_BATCH
from eval.measure.records.identity import layout_digest
from eval.measure.records.schema import Kind
from eval.measure.timing import Budget
from refmodel.digest import params_digest
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from refmodel.source import Model


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
    in one piece, at `whole_lengths` (None: at all) and, of full attention, at shorter ones.  With `layers_apart` each
    distinct layer of those is timed once instead and multiplied, at every length; the model's parameters are then those
    of `eval.measure.layers_apart.random_layers`.  `left_out` holds the usual layouts that do not fit the model or the
    lengths, each with the reason.  `batch` prompts are timed at once.
    """

    model: Model
    text: Text
    layouts: tuple[NamedLayout, ...]
    whole: tuple[NamedLayout, ...]
    lengths: tuple[int, ...]
    quality_tokens: int
    budget: Budget = Budget()
    impl: str = "auto"
    layers_apart: bool = False
    whole_lengths: tuple[int, ...] | None = None
    batch: int = 1
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        longest = max((*self.lengths, self.quality_tokens))
        if min(self.lengths, default=0) < 1:
            raise ValueError(f"lengths must be at least one number of 1 token or more, got {list(self.lengths)}")
        if longest > len(self.text.tokens):
            raise ValueError(
                f"the text ({self.text.name}) has {len(self.text.tokens)} tokens, {longest} are asked for; give a "
                "longer text, or ask for fewer"
            )
        whole("batch", self.batch, 1, MOST_BATCH)
        if self.quality_tokens < 0 or self.quality_tokens == 1:
            raise ValueError(f"quality takes 0 (none) or at least 2 tokens of text, got {self.quality_tokens}")
        if self.quality_tokens and self.layers_apart:
            raise ValueError("layers apart are no model that reads a text: leave quality out, or time the whole model")
        if self.quality_tokens > self.model.config.max_positions:
            raise ValueError(
                f"quality is read within the {self.model.config.max_positions:,} tokens that {self.model.config.name} "
                f"is made for, beyond which full attention is no reference; {self.quality_tokens:,} are asked for"
            )
        for layout in (*self.layouts, *self.whole):
            for variant in layout.counts:
                variant.check_prompt(min(self.lengths))
                for tokens in self.lengths:
                    variant.check_steps([(0, tokens)])
            layout_digest(layout.variants)  # of what has none, no record could tell
        if self.quality_tokens:
            self._check_quality()

    def _check_quality(self) -> None:
        """Raises `ValueError` for a layout that is timed but takes no prompt as long as the text of quality."""
        for variant in dict.fromkeys(variant for layout in self.layouts for variant in layout.counts):
            try:
                variant.check_steps([(0, self.quality_tokens)])
            except ValueError as error:
                raise ValueError(
                    f"quality reads {self.quality_tokens:,} tokens of the text, which {variant} does not take "
                    f"({error}); ask for another number of quality tokens, or for 0 to leave quality out"
                ) from error

    @property
    def dtype(self) -> Any:
        """Of parameters and activations."""
        return self.model.params["embed"]["embedding"].dtype

    @cached_property
    def params_digest(self) -> str:
        """Of the model's parameters as they are now: `refmodel.digest`."""
        return params_digest(self.model.params, on_piece=breathe)

    def prompts(self, tokens: int) -> np.ndarray:
        """Ids [batch, tokens]: successive stretches of the text, which begins again where it ends."""
        return np.resize(np.asarray(self.text.tokens, np.int32), (self.batch, tokens))

    def read_by(self, kind: Kind, tokens: int) -> Sequence[int]:
        """The ids that a cell goes through, one row after the other; quality reads one row."""
        return self.text.tokens[:tokens] if kind == "quality" else self.prompts(tokens).ravel().tolist()

    @property
    def beyond_context(self) -> tuple[int, ...]:
        """Lengths that the model was not made for: what they cost can be measured all the same."""
        return tuple(tokens for tokens in self.lengths if tokens > self.model.config.max_positions)

    @property
    def full(self) -> NamedLayout:
        """What the others are compared with."""
        return NamedLayout.of(FULL, self.model.config)

    def whole_at(self, tokens: int) -> tuple[NamedLayout, ...]:
        """Those that are timed in one piece at this length."""
        if self.whole_lengths is None or tokens in self.whole_lengths:
            return self.whole
        return tuple(layout for layout in self.whole if layout.is_full and tokens < max(self.whole_lengths))

    @property
    def single_layers(self) -> tuple[NamedLayout, ...]:
        """One layer of each variant of all layouts, full attention first."""
        return tuple(dict.fromkeys(layer for layout in (self.full, *self.layouts) for layer in layout.single_layers))


@dataclass(frozen=True)
class Cell:
    """Records that are measured together, of `layouts` (of kind `attention` single layers) at one length.

    `programs` are compiled for each of them, and `flops` holds the FLOPs of one run of each.
    """

    kind: Kind
    tokens: int
    flops: Mapping[NamedLayout, int]
    programs: int = 1

    @property
    def layouts(self) -> tuple[NamedLayout, ...]:
        return tuple(self.flops)

    @property
    def work_flops(self) -> int:
        """Of one run of each."""
        return sum(self.flops.values())

    def only(self, layouts: Collection[NamedLayout]) -> Cell:
        """The cell with some of its records."""
        return replace(self, flops={layout: flops for layout, flops in self.flops.items() if layout in layouts})


def plan(sweep: Sweep) -> list[Cell]:
    """All cells, shortest lengths first: a run that is stopped early has whole curves."""
    config = sweep.model.config
    if sweep.layers_apart:
        return [
            _apart(config.with_layout(layout.variants), layout, tokens, sweep.batch)
            for tokens in sorted(sweep.lengths)
            for layout in sweep.whole
        ]
    cells = []
    for tokens in sorted(sweep.lengths):
        full_flops = prefill_flops(config, tokens, batch=sweep.batch)
        layer_flops = {
            layer: sweep.batch * attention_flops(layer.variants[0], config, tokens, count="executed")
            for layer in sweep.single_layers
        }
        cells.append(Cell("linear", tokens, {sweep.full: sum(full_flops.values()) - full_flops["attention"]}))
        cells.append(Cell("attention", tokens, layer_flops))
        whole_flops = {
            layout: _executed(config.with_layout(layout.variants), tokens, sweep.batch)
            for layout in sweep.whole_at(tokens)
        }
        if whole_flops:
            cells.append(Cell("prefill", tokens, whole_flops))
    if sweep.quality_tokens:
        read_flops = sum(prefill_flops(config, sweep.quality_tokens).values())
        cells.append(Cell("quality", sweep.quality_tokens, dict.fromkeys(sweep.layouts, read_flops)))
    return cells


def _apart(config: ModelConfig, layout: NamedLayout, tokens: int, batch: int) -> Cell:
    """Each distinct layer as a model of its own, however often the layout has it, and the ends that they share."""
    layers = [config.one_layer(*layer) for layer in dict.fromkeys(zip(config.layout, config.stacks, strict=True))]
    head_flops = prefill_flops(layers[0], tokens, batch=batch)["head"]
    flops = head_flops + sum(_executed(layer, tokens, batch) for layer in layers)
    return Cell("apart", tokens, {layout: flops}, programs=1 + len(layers))


def _executed(config: ModelConfig, tokens: int, batch: int) -> int:
    return sum(prefill_flops(config, tokens, count="executed", batch=batch).values())
