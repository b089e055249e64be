"""The parameters of a model under another layout: those that it has, where the new one looks for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from refmodel.packed.packed import Packed
from refmodel.specification import ModelConfig
from refmodel.tree import Leaf, Params, abstract_params, leaves_by_path, model_leaves, nested
from refmodel.weights.random import random_leaf


def refuse_untrained(before: ModelConfig, after: ModelConfig) -> None:
    """Raises the `ValueError` of `relayed_params` for trained weights, of which none is there yet."""
    if before.stacks != after.stacks:
        jax.eval_shape(lambda params: relayed_params(before, after, params, 0, trained=True), abstract_params(before))


def relayed_params(before: ModelConfig, after: ModelConfig, params: Params, seed: int, *, trained: bool) -> Params:
    """`params` of `before` for `after`, which is the same model under another layout.

    Layers that change to `delta` or from it have other parameters, in another stack; what all layers have moves with
    them.  What is not there (routers, a DeltaNet layer's projections) is what `random_params` gives from `seed`, in the
    dtype of `params`, and packed as they are.  Leaves that nothing happens to are the same arrays.

    Raises `ValueError` where a `trained` model lacks more than a mixer adds to attention.
    """
    leaves, own, dtype = leaves_by_path(params), model_leaves(before), params["embed"]["embedding"].dtype
    coding = next((leaf.coding for leaf in leaves.values() if isinstance(leaf, Packed)), None)

    def leaf_of(path: str, leaf: Leaf) -> Any:
        if leaf.layers is None or (path in leaves and own.get(path) == leaf):
            return leaves[path]
        name = path.split(".", 2)[2]
        found = [of_layer(f"blocks.{before.stacks[layer]}.{name}", leaf, layer) for layer in leaf.layers]
        known = [one for one in found if one is not None]
        if len(known) == len(found):
            return _stacked(known)
        if trained and not leaf.row.of_mixer:
            layer, mixer = leaf.layers[0], after.layers[leaf.layers[0]].mixer
            raise ValueError(
                f"{before.name} has no weights for {mixer} in layer {layer} ({name}): a layer's mixer is trained with "
                "the model; random weights of a preset take any layout"
            )
        if not known:
            return random_leaf(path, leaf, dtype, jax.random.key(seed), coding)
        drawn = random_leaf(path, leaf, dtype, jax.random.fold_in(jax.random.key(seed), 1), coding)  # unlike the known
        return _stacked([_layer(drawn, i) if one is None else one for i, one in enumerate(found)])

    def of_layer(path: str, leaf: Leaf, layer: int) -> Any:
        held = own.get(path)
        if held is None or held.layers is None or path not in leaves or held.row.shape != leaf.row.shape:
            return None
        return _layer(leaves[path], held.layers.index(layer))

    return nested({path: leaf_of(path, leaf) for path, leaf in model_leaves(after).items()})


def _layer(leaf: Any, i: int) -> Any:
    return leaf.at(jnp.int32(i)) if isinstance(leaf, Packed) else leaf[i]


def _stacked(layers: list[Any]) -> Any:
    """Of arrays, or of packed matrices of one coding."""
    first = layers[0]
    if not isinstance(first, Packed):
        return jnp.stack(layers)
    parts = {name: jnp.stack([layer.parts[name] for layer in layers]) for name in first.parts}
    return dataclasses.replace(first, parts=parts, shape=(len(layers), *first.shape))
