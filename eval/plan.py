"""What a comparison measures: layouts at lengths on a text, as cells that can be measured one after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax

from attention.layout import LayoutSpec, format_layout, parse_layout, parse_variant
from attention.variant import Variant
from eval.flops.closed_form import attention_flops, prefill_flops
from eval.refuse_impl import refuse_impl
from eval.timing import Budget
from refmodel.config import ModelConfig
from refmodel.default_model import default_text, text_sha256
from refmodel.source import Model

FULL = "full"

WHOLE = (FULL, "5*swa(1024)+full")
LAYOUTS = (
    *WHOLE, "swa(1024)", "swa(1020,sinks=4)", "spans(256|1024|full,sinks=4)", "routed(256|full,router=periodic)",
    "moba(256,topk=4)",
    *(f"evict({policy},budget=1024,chunk=512)" for policy in ("streaming", "snapkv", "tova", "keydiff", "h2o")),
)  # fmt: skip
"""Compared where none are named, as far as they fit the model; of those in `WHOLE` the whole prefill is timed too."""

ON_GPU = (
    *WHOLE, "swa(1024)", "swa(1020,sinks=4)", "routed(512|512|4096|full,router=periodic)",
    "evict(keydiff,budget=4096,chunk=4096)",
)  # fmt: skip
"""The same on a GPU, where whole prefills are quick: all of them are timed."""

LENGTHS = (1024, 2048, 4096, 8192)
GPU_LENGTHS = tuple(1024 << k for k in range(7))
QUALITY_TOKENS = 3072


@dataclass(frozen=True)
class Text:
    """What the model reads: token ids, and where they came from."""

    name: str
    sha256: str
    tokens: tuple[int, ...]


def text_tokens(model: Model, text: str, name: str, sha256: str) -> Text:
    """The ids of a text; a model without a tokenizer (random weights) reads arbitrary ids of its vocabulary."""
    if model.tokenizer is not None:
        return Text(name, sha256, tuple(model.tokenizer.encode(text, add_special_tokens=False).ids))
    ids: Sequence[int] = jax.random.randint(jax.random.key(0), (2**18,), 0, model.config.vocab_size).tolist()
    return Text("random ids", "random ids, key 0", tuple(ids))


@dataclass(frozen=True)
class Sweep:
    """What to measure: layouts at lengths, and quality over the text's first `quality_tokens` (0: none).

    Every layout is timed in parts, its layers' attention and the linear layers that all share; those of `whole` also
    in one piece.  With `layers_apart` each distinct layer of those is timed once instead and multiplied; the model's
    parameters are then those of `eval.layers_apart.random_layers`.  `left_out` holds the usual layouts that do not fit
    the model or the lengths, each with the reason.
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
        if self.quality_tokens < 0 or self.quality_tokens == 1:
            raise ValueError(f"quality takes 0 (none) or at least 2 tokens of text, got {self.quality_tokens}")
        if self.quality_tokens > self.model.config.max_positions:
            raise ValueError(
                f"quality is read within the {self.model.config.max_positions:,} tokens that {self.model.config.name} "
                f"is made for, beyond which full attention is no reference; {self.quality_tokens:,} are asked for"
            )
        for layout in self.layouts:
            for variant in dict.fromkeys(self.model.config.with_layout(layout).layout):
                variant.check_prompt(min(self.lengths))

    @property
    def dtype(self) -> Any:
        """Of parameters and activations."""
        return self.model.params["embed"]["embedding"].dtype

    @property
    def beyond_context(self) -> tuple[int, ...]:
        """Lengths that the model was not made for: what they cost can be measured all the same."""
        return tuple(tokens for tokens in self.lengths if tokens > self.model.config.max_positions)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The distinct variants of all layouts, full attention first."""
        found = dict.fromkeys([parse_variant(FULL)])
        for layout in self.layouts:
            found |= dict.fromkeys(self.model.config.with_layout(layout).layout)
        return tuple(found)


def usual_sweep(
    model: Model,
    layouts: Sequence[LayoutSpec] | None = None,
    tokens: Sequence[int] | None = None,
    *,
    whole: Sequence[LayoutSpec] | None = None,
    quality_tokens: int | None = None,
    text: str | None = None,
    text_name: str = "text",
    impl: str = "auto",
    budget: Budget = Budget(),
    layers_apart: bool = False,
) -> Sweep:
    """What `prefillwall compare` and `eval.compare` measure; None takes the default of the device and the model.

    Raises `ValueError` in one line for layouts, lengths or a text that do not go together, and for an implementation
    that cannot run full attention of this model here.
    """
    for name, given in (("layouts", layouts), ("tokens", tokens), ("whole", whole)):
        if given is not None and (isinstance(given, str) or not isinstance(given, Sequence)):
            raise ValueError(f"{name} is a list, got {given!r}")
    refuse_impl(impl, model.params["embed"]["embedding"].dtype, model.config.head_dim)
    on_gpu = jax.default_backend() == "gpu"
    lengths = tuple(sorted(set(tokens or (GPU_LENGTHS if on_gpu else LENGTHS))))
    usual = ON_GPU if on_gpu else LAYOUTS
    left_out = {} if layouts else _left_out(model.config, usual, lengths[0])
    compared = layouts or [layout for layout in usual if layout not in left_out]
    if whole is None:
        whole = layouts or [layout for layout in (usual if on_gpu else WHOLE) if layout not in left_out]
    words = default_text() if text is None else text
    read = text_tokens(model, words, "pydoc_data.topics" if text is None else text_name, text_sha256(words))
    if quality_tokens is None:
        readable_tokens = min(QUALITY_TOKENS, len(read.tokens), model.config.max_positions)
        quality_tokens = readable_tokens if model.weights == "checkpoint" and readable_tokens > 1 else 0
    return Sweep(
        model=model,
        text=read,
        layouts=canonical_layouts(model.config, compared),
        whole=canonical_layouts(model.config, whole),
        lengths=lengths,
        quality_tokens=quality_tokens,
        budget=budget,
        impl=impl,
        layers_apart=layers_apart,
        left_out=MappingProxyType(left_out),
    )


def canonical_layouts(config: ModelConfig, layouts: Sequence[LayoutSpec]) -> tuple[str, ...]:
    """The layouts in their shortest spelling, `full` first: what the others are compared with."""
    shortest = [format_layout(parse_layout(layout, config.n_layers)) for layout in layouts]
    return tuple(dict.fromkeys([FULL, *shortest]))


def _left_out(config: ModelConfig, layouts: Sequence[str], shortest_tokens: int) -> dict[str, str]:
    """Those whose cycle does not divide the model's layers, whose spans do not suit its heads or whose chunks do not
    suit the prompts; each with what was wrong."""
    found = {}
    for layout in layouts:
        try:
            model = config.with_layout(layout)
        except ValueError:
            found[layout] = f"the layers or heads of {config.name}"
            continue
        try:
            for variant in model.layout:
                variant.check_prompt(shortest_tokens)
        except ValueError:
            found[layout] = f"a prompt of {shortest_tokens:,} tokens"
    return found


@dataclass(frozen=True)
class Cell:
    """Records that are measured together, of `names` (layouts or variants) at one length."""

    kind: str
    tokens: int
    flops_by_name: Mapping[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.flops_by_name)

    @property
    def work_flops(self) -> int:
        """Of one run of each."""
        return sum(self.flops_by_name.values())

    def only(self, names: Collection[str]) -> Cell:
        """The cell with some of its records."""
        return Cell(self.kind, self.tokens, {n: flops for n, flops in self.flops_by_name.items() if n in names})


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
            cells += [Cell("apart", tokens, {layout: flops}) for layout, flops in layout_flops.items()]
            continue
        full_flops = prefill_flops(config, tokens)
        cells.append(Cell("linear", tokens, {FULL: sum(full_flops.values()) - full_flops["attention"]}))
        cells.append(Cell("attention", tokens, layer_flops))
        cells += [Cell("prefill", tokens, {layout: flops}) for layout, flops in layout_flops.items()]
    if sweep.quality_tokens and not sweep.layers_apart:
        read_flops = sum(prefill_flops(config, sweep.quality_tokens).values())
        cells.append(Cell("quality", sweep.quality_tokens, dict.fromkeys(sweep.layouts, read_flops)))
    return cells
