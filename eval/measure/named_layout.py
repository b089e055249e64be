"""A layout with the name that records and reports know it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from attention.full import FULL
from attention.layout import Layout, LayoutSpec, format_layout, parse_layout, parse_variant
from attention.mixer import Mixer
from refmodel.specification import ModelConfig

Layers = int | ModelConfig
"""How many a layout has, or the model that it is for: one of DeltaNet layers may keep those."""


@dataclass(frozen=True)
class NamedLayout:
    """The variant of each layer, and their shortest spelling.

    One of a single layer stands for that layer's attention alone.

    Examples:
        >>> layout = NamedLayout.of("swa(5)+full", 4)
        >>> str(layout), {str(variant): n for variant, n in layout.counts.items()}
        ('swa(5)+full', {'swa(5)': 2, 'full': 2})
    """

    name: str
    variants: Layout

    @classmethod
    def of(cls, spec: LayoutSpec, layers: Layers) -> NamedLayout:
        """Of what `attention.parse_layout` reads, for so many layers, or for those of a model that it covers."""
        variants = parse_layout(spec, layers) if isinstance(layers, int) else layers.mixers_of(spec)
        return cls(format_layout(variants), variants)

    @property
    def is_full(self) -> bool:
        """Whether it is what the others are compared with."""
        return self.name == FULL

    @property
    def counts(self) -> Counter[Mixer]:
        """How many layers have each variant."""
        return Counter(self.variants)

    @property
    def single_layers(self) -> tuple[NamedLayout, ...]:
        """A layout of one layer for each of its variants."""
        return tuple(NamedLayout(str(variant), (variant,)) for variant in self.counts)

    def __str__(self) -> str:
        return self.name


def named_layouts(specs: Iterable[LayoutSpec], layers: Layers) -> tuple[NamedLayout, ...]:
    """All of them once, full attention first: what the others are compared with."""
    found = tuple(dict.fromkeys(NamedLayout.of(spec, layers) for spec in (FULL, *specs)))
    for variant in dict.fromkeys(variant for layout in found for variant in layout.variants):
        _refuse_borrowed_name(variant)
    return found


def _refuse_borrowed_name(variant: Mixer) -> None:
    """Raises `ValueError` for a variant whose spelling is that of another one: records could not tell them apart."""
    try:
        read = parse_variant(str(variant))
    except ValueError:  # of a name that no registry knows, which is its own
        return
    if read != variant:
        raise ValueError(
            f"{variant!r} is spelled {str(variant)!r}, which reads as {read!r}: give its class a name of its own, or "
            "parameters that can be spelled"
        )


class LayoutNames:
    """Layouts of one model by the names that records hold: those at hand, and what the registries can read.

    A variant that is registered nowhere is known only where its layout is at hand.
    """

    def __init__(self, layers: Layers, at_hand: Iterable[NamedLayout] = ()) -> None:
        self._all = layers
        self._layouts = {layout.name: layout for layout in at_hand}
        self._layers = {layer.name: layer for layout in at_hand for layer in layout.single_layers}

    def layout(self, name: str) -> NamedLayout:
        """Of all layers.  Raises `ValueError` in one line where `name` cannot be read."""
        return self._find(self._layouts, name, self._all)

    def single_layer(self, name: str) -> NamedLayout:
        """Of one layer, whose variant `name` is."""
        return self._find(self._layers, name, 1)

    def _find(self, known: dict[str, NamedLayout], name: str, layers: Layers) -> NamedLayout:
        if name not in known:
            try:
                known[name] = NamedLayout.of(name, layers)
            except ValueError as error:
                raise ValueError(f"cannot read the layout {name!r} of the records: {error}{_hint(error)}") from error
        return known[name]


def _hint(error: ValueError) -> str:
    """What to do about a name that no registry knows."""
    if not str(error).startswith("no "):
        return ""
    return "; one of your own is known once it is registered: by its file in --plugin, or by attention.register"


def unseen_losses(layouts: Iterable[NamedLayout]) -> list[str]:
    """What to know of the quality of layouts that evict after the prompt; nothing where there are none."""
    late = [one.name for one in layouts if any(variant.later_steps_alone for variant in one.variants)]
    return [
        f"{', '.join(late)}: a text is read in one pass, and what is evicted after it changes nothing of its "
        "quality; prefillwall retrieve and generate show what is lost"
    ] * bool(late)
