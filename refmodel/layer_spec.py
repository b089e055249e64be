"""One layer's specification: its mixer, heads, positions, norms and feed-forward, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Final

from attention.checks import whole
from attention.cost import Heads
from attention.gated_delta import GatedDelta
from attention.mixer import Mixer
from refmodel.bias_rows import attention_bias_rows, feed_forward_bias_rows, sink_rows
from refmodel.gemma4_rows import beside_rows, out_scale_row
from refmodel.hybrid_rows import delta_rows, gated_query_rows, shared_expert_rows
from refmodel.parameters import (
    Parameter,
    Table,
    attention_rows,
    feed_forward_rows,
    mixer_rows,
    norm_rows,
    qk_norm_rows,
)
from refmodel.parts import Dense, Experts, FeedForward, Norm, Rope
from refmodel.words import brief

MOST_SIZE: Final = 2**31 - 1
"""Of any axis: a bound for products of sizes, which no model comes near."""

MOST_OF_HEADS: Final = 2**16
"""Of N, K and H: H/2 frequencies and a span for each head are made where a description is read."""


@dataclass(frozen=True)
class LayerSpec:
    """One layer.

    Attributes:
        mixer: who sees whom, or a recurrent state; None for a layer of another kind, which is only counted.
        heads: N, K, H and D.
        feed_forward: dense, or experts.
        norm: of the block, and of queries and keys where there is `qk_norm`.
        rope: rotary positions.
        qk_norm: RMSNorm over the head dimension of queries and keys (Qwen3, Gemma 3).
        attention_bias: the projections that have a bias, a part of "qkvo".
        sink_logits: whether each query head has a learned logit in its softmax (`attention.sink_logits`).
        gated: whether each head's result is multiplied with the sigmoid of a projection as wide as its queries.
        softmax_scale: what scores are multiplied with; None is H^(-1/2).
        value_norm: RMSNorm without a scale over the head dimension of values (Gemma 4).
        value_is_key: whether values are the keys' projection, neither normed as keys nor rotated, and have none of
            their own.
        out_scale: whether what the layer puts out is multiplied with a learned number.
        stack: under which name its parameters are stacked with those of layers of the same shapes; empty: "dense" or
            "moe", as its feed-forward is, with "delta_" before it where the mixer is `delta`.
        told: the parameters of a layer that can be counted and not run; empty where they follow from the rest.
        told_kv_values: keys and values that a token of such a layer leaves in the cache; 0 for 2·K·H.
    """

    mixer: Mixer | None
    heads: Heads
    feed_forward: FeedForward
    norm: Norm = Norm()
    rope: Rope = Rope()
    qk_norm: bool = True
    attention_bias: str = ""
    sink_logits: bool = False
    gated: bool = False
    softmax_scale: float | None = None
    value_norm: bool = False
    value_is_key: bool = False
    out_scale: bool = False
    stack: str = ""
    told: Table = ()
    told_kv_values: int = 0

    @cached_property
    def parameters(self) -> Table:
        """The layer's rows of the table: told for one that is only counted, else what the specification asks for; its
        mixer's own either way."""
        if self.told:
            return (*self.told, *self._of_mixer)
        return (
            *norm_rows(self.norm, self.heads.d_model),
            *self._mixing,
            *feed_forward_rows(self.heads.d_model, self.feed_forward),
            *feed_forward_bias_rows(self.heads.d_model, self.feed_forward),
            *shared_expert_rows(self.heads.d_model, self.feed_forward),
            *beside_rows(self.heads.d_model, self.feed_forward, self.norm),
            *((out_scale_row(),) if self.out_scale else ()),
        )

    @property
    def _mixing(self) -> Table:
        """The rows around the mixer, its own among them."""
        if isinstance(self.mixer, GatedDelta):
            return delta_rows(self.mixer, self.heads.d_model, self.norm.eps)
        rows = attention_rows(self.heads, self.value_is_key)
        return (
            *(gated_query_rows(rows, self.heads) if self.gated else rows),
            *attention_bias_rows(self.heads, self.attention_bias),
            *(sink_rows(self.heads) if self.sink_logits else ()),
            *(qk_norm_rows(self.norm, self.heads) if self.qk_norm else ()),
            *self._of_mixer,
        )

    @property
    def _of_mixer(self) -> Table:
        return mixer_rows(self.mixer.params(self.heads) if self.mixer else {})

    @property
    def attention_params(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of what attention reads between the projections, by names under "attn": the mixer's own, sinks."""
        own = self.mixer.params(self.heads) if self.mixer else {}
        return {**own, "sinks": (self.heads.n_heads,)} if self.sink_logits else own

    @cached_property
    def products(self) -> Table:
        """The rows that multiply every token that comes to them, the mixer's own aside."""
        return tuple(row for row in self.parameters if row.component and not row.of_mixer)

    @cached_property
    def linear_macs(self) -> int:
        """Multiply-accumulates of one token, those with a state of constant size among them."""
        of_state = self.mixer.limiting_flops(self.heads) if self.mixer and not self.attends else None
        return sum(row.macs_per_token for row in self.products) + int(of_state or 0) // 2

    @cached_property
    def mixer_params(self) -> int:
        """Numbers that the mixer stores of its own: routers of spans."""
        return sum(row.size for row in self.parameters if row.of_mixer)

    @cached_property
    def params(self) -> int:
        """Numbers that are stored."""
        return sum(row.size for row in self.parameters)

    @property
    def attends(self) -> bool:
        """Whether its mixer is softmax attention, or another whose cost is counted as attention's."""
        return self.mixer is not None and self.mixer.component == "attention"

    @property
    def kv_values(self) -> int:
        """Values that a token leaves in the cache: 2·K·H, keys and values, and what its mixer holds beside them."""
        if self.mixer is None or not self.attends:
            return self.told_kv_values
        own = self.told_kv_values or 2 * self.heads.n_kv_heads * self.heads.head_dim
        return own + self.mixer.token_values(self.heads)

    @property
    def variant(self) -> Mixer:
        """The mixer.  Raises `ValueError` for a layer without one."""
        if self.mixer is None:
            raise ValueError("a layer without softmax attention has no variant of it")
        return self.mixer

    @property
    def stack_name(self) -> str:
        return f"{'delta_' if isinstance(self.mixer, GatedDelta) else ''}{self.stack or self.feed_forward.kind}"

    @property
    def query_factor(self) -> float:
        """What queries are multiplied with, so that attention's own H^(-1/2) becomes the layer's softmax scale."""
        return 1.0 if self.softmax_scale is None else self.softmax_scale * self.heads.head_dim**0.5

    def with_mixer(self, mixer: Mixer) -> LayerSpec:
        """The same layer with other attention."""
        return self if mixer == self.mixer else dataclasses.replace(self, mixer=mixer)

    def at_length(self, total_tokens: int, prompt_tokens: int | None = None) -> LayerSpec:
        """The layer of sequences of `total_tokens`: its mixer and its positions may depend on that, and the mixer on
        how many of them are the prompt's (where nothing is said, all)."""
        mixer, rope = self.mixer, self.rope.at_length(total_tokens)
        if mixer and prompt_tokens is not None:
            mixer = mixer.after_prompt(prompt_tokens)
        mixer = mixer and mixer.at_length(total_tokens)
        return self if (mixer, rope) == (self.mixer, self.rope) else dataclasses.replace(self, mixer=mixer, rope=rope)

    def parameter(self, path: str) -> Parameter:
        """The row of that path."""
        return next(row for row in self.parameters if row.path == path)


def check_layer(name: str, layer: LayerSpec, d_model: int) -> None:
    """Raises `ValueError` for sizes that no layer of a model of width `d_model` can have."""
    n, k, h, d = layer.heads.n_heads, layer.heads.n_kv_heads, layer.heads.head_dim, layer.heads.d_model
    if layer.mixer:
        check_sizes(name, {"n_heads": n, "n_kv_heads": k, "head_dim": h}, MOST_OF_HEADS)
        if n % k:
            raise ValueError(f"{name}: n_heads {n} is not a multiple of n_kv_heads {k}")
        if h % 2:
            raise ValueError(f"{name}: head_dim must be even for rotary positions, got {h}")
        check_numbers(name, layer.mixer)
        layer.mixer.check(layer.heads)
        if layer.sink_logits and not layer.mixer.takes_sink_logits:
            raise ValueError(f"{name}: learned sinks are logits of a softmax, and {layer.mixer} takes none")
        if layer.value_is_key and "v" in layer.attention_bias:
            raise ValueError(f"{name}: values that are the keys' projection have no bias of their own")
    if d != d_model:
        raise ValueError(f"{name}: a layer is {d} wide in a model of d_model {d_model}")
    if layer.told:
        return
    match layer.feed_forward:
        case Experts(experts, used, width):
            if not 1 <= used <= experts:
                raise ValueError(f"{name}: experts_per_token must be in 1..{experts}, got {used}")
            check_sizes(name, {"n_experts": experts, "d_expert of its moe layers": width})
            whole(f"{name}: d_shared of its moe layers", layer.feed_forward.d_shared, 0, MOST_SIZE)
            if layer.feed_forward.beside:
                check_sizes(name, {"d_ff beside experts": layer.feed_forward.beside.d_ff})
        case Dense(width):
            check_sizes(name, {"d_ff of its dense layers": width})


def check_numbers(name: str, mixer: Mixer) -> None:
    """Raises `ValueError` for a whole number of the mixer that is none, or above `MOST_SIZE`, and for a truth value
    that is none."""
    for field in dataclasses.fields(mixer):
        value = getattr(mixer, field.name)
        if field.type in ("bool", bool) and not isinstance(value, bool):
            raise ValueError(f"{name}: {mixer.name}: {field.name} must be true or false, got {brief(value)}")
        if field.type in ("int", int) and field.name != "seed":
            most = MOST_OF_HEADS if field.name in ("heads", "dim") else MOST_SIZE
            if isinstance(value, bool) or not isinstance(value, Integral) or int(value) > most:
                raise ValueError(
                    f"{name}: {mixer.name}: {field.name} must be a whole number of at most {most:,}, got {brief(value)}"
                )


def check_sizes(name: str, sizes: Mapping[str, int], most: int = MOST_SIZE) -> None:
    """Raises `ValueError` naming the first of `sizes` below 1 or above `most`."""
    for size, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name}: {size} must be at least 1, got {value}")
        if value > most:
            raise ValueError(f"{name}: {size} must be at most {most:,}, got {brief(value)}")
