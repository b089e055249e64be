"""The base of the Linen modules: parameters of several layers stacked in front, of which a call reads one layer's."""

from __future__ import annotations

from typing import Any

import jax
from flax import linen as nn
from jax import lax

from refmodel.layer_spec import LayerSpec
from refmodel.norm import rms_norm
from refmodel.packed.by_layer import PackedByLayer
from refmodel.packed.packed import Packed


class Stacked(nn.Module):
    """Base: declares parameters [L, ...] and reads one layer's slice of them.

    What is declared here are the rows of the layer's table, by the path `prefix` and their name.  Values come from a
    checkpoint or from `refmodel.weights.random`: a Linen initialiser would count the stack into the fan-in.
    """

    spec: LayerSpec
    n_stack: int
    dtype: jax.typing.DTypeLike
    prefix: str = ""

    def stack(self, name: str) -> Any:
        """The parameter of all layers [L, ...]: an array, `Packed` or `PackedByLayer`."""
        held: Any = self.get_variable("params", name)
        if isinstance(held, Packed | PackedByLayer):
            return held
        shape = self.spec.parameter(f"{self.prefix}.{name}").shape
        return self.param(name, nn.initializers.zeros, (self.n_stack, *shape), self.dtype)

    def at(self, layer: jax.Array, name: str) -> jax.Array:
        """One layer's, of a parameter that is not packed."""
        return lax.dynamic_index_in_dim(self.stack(name), layer, keepdims=False)


class RMSNorm(Stacked):
    """`refmodel.norm.rms_norm` with a layer's scale."""

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> jax.Array:
        return rms_norm(x, self.at(layer, "scale"), self.spec.norm)


class OutScale(Stacked):
    """x times a layer's number."""

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> jax.Array:
        return x * self.at(layer, "scale")
