"""One description of a model: its layers one by one, and what is outside them.

Everything follows from it: the parameters (`refmodel.parameters`), the program (`refmodel.model`), the counts
(`eval.cost`).  A model that this project cannot run is the same object with a reason why not, and its layers tell
their parameters instead of having them follow.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from attention.cost import Depth, Heads
from attention.layout import Layout, LayoutSpec, format_layout, mixers_named, parse_layout
from attention.mixer import Mixer
from refmodel.layer_spec import LayerSpec, check_layer, check_sizes
from refmodel.outside_rows import outside_rows
from refmodel.parameters import Table
from refmodel.parts import Experts, Norm

MOST_LAYERS: Final = 10_000
"""Each is an object of its own wherever a model is looked at; the deepest models have some hundreds."""


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only transformer.

    Attributes:
        layers: the specification of each.
        d_model, vocab_size: D and V.
        tied_head: the head is the embedding, transposed.
        final_norm: before the head.
        embedding_scale: what embedded tokens are multiplied with, in their own precision (Gemma: D^(1/2)).
        logit_cap: c of c · tanh(logits / c), which logits become (Gemma 2, 4); None leaves them as they are.
        max_positions: tokens that the model was made for.
        cannot_run: why this project cannot run it; empty for a model that it runs.
        headline_params: active parameters as its makers round them ("A3B" is 3.3e9); None without such a word.
        note: what the description leaves out or assumes.
        family: its family's `model_type` in config.json, where its files or its preset are of one.
        own_mixers: of each layer, as its files or its preset have them, where another layout was put in; else empty.
    """

    name: str
    layers: tuple[LayerSpec, ...]
    d_model: int
    vocab_size: int
    tied_head: bool = False
    final_norm: Norm = Norm()
    embedding_scale: float = 1.0
    logit_cap: float | None = None
    max_positions: int = 40_960
    cannot_run: str = ""
    headline_params: int | None = field(default=None, compare=False)
    note: str = field(default="", compare=False)
    family: str = field(default="", compare=False)
    own_mixers: tuple[Mixer | None, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError(f"{self.name}: n_layers must be at least 1, got 0")
        check_sizes(self.name, {"n_layers": len(self.layers)}, MOST_LAYERS)
        sizes = {"d_model": self.d_model, "vocab_size": self.vocab_size, "max_positions": self.max_positions}
        check_sizes(self.name, sizes)
        one_of = {layer: layer for layer in self.layers}  # layers that are alike share what they work out
        object.__setattr__(self, "layers", tuple(one_of[layer] for layer in self.layers))
        for layer in one_of:
            check_layer(self.name, layer, self.d_model)
        _check_stacks(self)

    @property
    def n_layers(self) -> int:
        """L."""
        return len(self.layers)

    @property
    def stacks(self) -> tuple[str, ...]:
        """The name of the stack that each layer's parameters are in."""
        return tuple(layer.stack_name for layer in self.layers)

    @property
    def heads(self) -> Heads:
        """N, K, H and D of the layers that attend.  Raises `ValueError` where they differ by layer."""
        found = {layer.heads for layer in self.layers if layer.mixer}
        if len(found) != 1:
            raise ValueError(f"{self.name}: its layers have {len(found)} sizes of heads; ask one of its `layers`")
        return found.pop()

    @property
    def n_heads(self) -> int:
        return self.heads.n_heads

    @property
    def n_kv_heads(self) -> int:
        return self.heads.n_kv_heads

    @property
    def head_dim(self) -> int:
        return self.heads.head_dim

    @property
    def group_size(self) -> int:
        """G = N / K: query heads that share a key-value head."""
        return self.n_heads // self.n_kv_heads

    @property
    def layout(self) -> Layout:
        """The mixers of the layers that have one, recurrent ones among them."""
        return tuple(layer.mixer for layer in self.layers if layer.mixer)

    @property
    def layout_name(self) -> str:
        return format_layout(self.layout) if self.layout else "none"

    @property
    def layout_summary(self) -> str:
        """The layout, or how often each variant occurs where that is shorter or some layers do not attend."""
        counts = Counter(map(str, self.layout))
        counts["no attention"] += len(self.layers) - len(self.layout)
        summary = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
        return min(self.layout_name, summary, key=len) if len(self.layout) == len(self.layers) else summary

    @property
    def has_experts(self) -> bool:
        """Whether some layer's feed-forward is a mixture of experts."""
        return any(isinstance(layer.feed_forward, Experts) for layer in self.layers)

    @property
    def distinct_layers(self) -> Mapping[LayerSpec, int]:
        """How often each layer occurs."""
        return Counter(self.layers)

    @cached_property
    def layers_at_depth(self) -> tuple[tuple[LayerSpec, Depth], ...]:
        """Each layer, and its depth as far as that matters to its mixer: those alike are equal."""
        n = self.n_layers
        return tuple(
            (layer, Depth(i, n) if layer.mixer and layer.mixer.differs_by_depth(n) else Depth(0, n))
            for i, layer in enumerate(self.layers)
        )

    @property
    def outside(self) -> Table:
        """The rows of the table of parameters for what is outside the layers."""
        return outside_rows(self.d_model, self.vocab_size, self.final_norm, self.tied_head)

    @property
    def params(self) -> int:
        """Numbers that are stored: layers, embedding, final norm, and a head of its own."""
        return sum(layer.params for layer in self.layers) + sum(row.size for row in self.outside)

    @property
    def linear_macs(self) -> int:
        """Multiply-accumulates of one token in all layers: the parameters that it meets there."""
        return sum(layer.linear_macs for layer in self.layers)

    @property
    def head_macs(self) -> int:
        """D · V, for one token."""
        return self.d_model * self.vocab_size

    def at_length(self, total_tokens: int, prompt_tokens: int | None = None) -> ModelConfig:
        """The same model for sequences of up to `total_tokens`: spans and positions that depend on that are settled,
        and so is what depends on the prompt, of `prompt_tokens` (all of them where nothing is said)."""
        return self._with_layers(layer.at_length(total_tokens, prompt_tokens) for layer in self.layers)

    def with_layout(self, spec: LayoutSpec) -> ModelConfig:
        """The same model with other mixers, those of `mixers_of`; see `attention.layout` for the spelling."""
        mixers = iter(self.mixers_of(spec))
        everywhere = _covers_recurrent(spec)
        changed = self._with_layers(
            layer.with_mixer(next(mixers)) if layer.attends or (layer.mixer and everywhere) else layer
            for layer in self.layers
        )
        own = self.own_mixers or tuple(layer.mixer for layer in self.layers)
        return self if changed is self else dataclasses.replace(changed, own_mixers=own)

    @property
    def under_own_layout(self) -> ModelConfig:
        """The model as its files or its preset have it, whatever layout was put in."""
        if len(self.own_mixers) != self.n_layers:
            return self
        pairs = zip(self.layers, self.own_mixers, strict=True)
        return self._with_layers(dataclasses.replace(layer, mixer=mixer) for layer, mixer in pairs)

    def mixers_of(self, spec: LayoutSpec) -> Layout:
        """What a layout gives this model: a mixer for every layer where it names `delta`, else for those that attend.

        DeltaNet layers of a hybrid have weights that are for nothing else, so "swa(1024)" leaves them as they are.
        """
        layers = self.layout if _covers_recurrent(spec) else [layer for layer in self.layers if layer.attends]
        if not layers:
            raise ValueError(
                f"{self.name} has no layer that attends: a layout for it names delta, such as 3*delta+full"
            )
        return parse_layout(spec, len(layers))

    def with_each_layer(self, **changes: Any) -> ModelConfig:
        """The same model with fields of every layer replaced: `with_each_layer(qk_norm=False)`."""
        return self._with_layers(dataclasses.replace(layer, **changes) for layer in self.layers)

    def one_layer(self, mixer: Mixer, stack: str | None = None) -> ModelConfig:
        """The model with a single layer: its first with that mixer, of that stack, or its first one with it put in."""
        layers = [layer for layer in self.layers if layer.mixer and stack in (None, layer.stack_name)]
        same = next((layer for layer in layers if layer.mixer == mixer), layers[0])
        return dataclasses.replace(self, layers=(same.with_mixer(mixer),))

    @property
    def one_of_each_stack(self) -> ModelConfig:
        """The model with a single layer of each stack: the last one."""
        return self._with_layers({layer.stack_name: layer for layer in self.layers}.values())

    def _with_layers(self, layers: Iterable[LayerSpec]) -> ModelConfig:
        changed = tuple(layers)
        return self if changed == self.layers else dataclasses.replace(self, layers=changed)


def check_config(config: object) -> None:
    """Raises `ValueError` for what is no description of a model, such as its name."""
    if not isinstance(config, ModelConfig):
        got = repr(config[:40]) if isinstance(config, str) else f"a {type(config).__name__}"
        raise ValueError(f"config: a model's, such as refmodel.load(...).config, is wanted, got {got}")


def _covers_recurrent(spec: LayoutSpec) -> bool:
    return any(mixer.component != "attention" for mixer in mixers_named(spec))


def _check_stacks(config: ModelConfig) -> None:
    """Layers of one stack have parameters of the same shapes, those of their mixers aside."""
    if config.cannot_run:
        return
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for layer in config.distinct_layers:
        own = {row.path: row.shape for row in layer.parameters if not row.of_mixer}
        if shapes.setdefault(layer.stack_name, own) != own:
            raise ValueError(
                f"{config.name}: layers of the stack {layer.stack_name!r} have parameters of different shapes; give "
                "the others a `stack` of another name"
            )
