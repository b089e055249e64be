"""The parameter tree that a description asks for: its leaves by dotted path, and their rows of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from attention.checks import of_kind
from refmodel.packed.coding import Coding
from refmodel.packed.packed import Packed, abstract_packed
from refmodel.packed.rule import is_packed, outer_axes
from refmodel.parameters import Parameter
from refmodel.specification import ModelConfig

Params = dict[str, Any]


def check_params(params: Any) -> None:
    """Raises `ValueError` for what is no tree of parameters: a model, say."""
    of_kind("params: parameters by name, as a model's `params` are,", params, Mapping)


class Leaf(NamedTuple):
    """A leaf's row of the table, and the layers that are stacked in it, in their order; None outside the layers."""

    row: Parameter
    layers: tuple[int, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.stacked, *self.row.shape)

    @property
    def stacked(self) -> tuple[int, ...]:
        """The axis of the layers, where there is one."""
        return () if self.layers is None else (len(self.layers),)

    def abstract(self, dtype: Any, coding: Coding | None = None) -> Any:
        """Its shape and `dtype`, packed where `coding` takes it; nothing allocated."""
        if coding is None or not is_packed(self.row, coding):
            return jax.ShapeDtypeStruct(self.shape, dtype)
        return abstract_packed(coding, (*self.stacked, *self.row.stored_shape), dtype, outer_axes(self.row))


def model_leaves(config: ModelConfig) -> dict[str, Leaf]:
    """Every leaf by its path, such as `blocks.dense.attn.q`.

    Parameters of a mixer's own (routers) are stacked for all layers of the stack, whether they have that mixer or not.
    """
    leaves = {row.path: Leaf(row, None) for row in config.outside}
    stacked: dict[str, list[int]] = {}
    for number, name in enumerate(config.stacks):
        stacked.setdefault(name, []).append(number)
    for layer in config.distinct_layers:
        name = layer.stack_name
        leaves |= {f"blocks.{name}.{row.path}": Leaf(row, tuple(stacked[name])) for row in layer.parameters}
    return leaves


def abstract_params(
    config: ModelConfig, dtype: jax.typing.DTypeLike = jnp.float32, coding: Coding | None = None
) -> Params:
    """The tree's shapes and dtypes, nothing allocated; what `refmodel.packed.rule` packs is so in `coding`."""
    return nested({path: leaf.abstract(dtype, coding) for path, leaf in model_leaves(config).items()})


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a parameter tree by dotted path, packed ones whole, in the tree's own order."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_packed_leaf)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}


def is_packed_leaf(x: Any) -> bool:
    """Whether a part of a parameter tree is a leaf of its own kind."""
    return isinstance(x, Packed)


def nested(leaves: Mapping[str, Any]) -> Params:
    """The tree of leaves by dotted path."""
    tree: Params = {}
    for path, leaf in leaves.items():
        *parents, name = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = leaf
    return tree
