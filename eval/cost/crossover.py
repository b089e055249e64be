"""Where attention overtakes the linear layers: an exact integer, or the share that it never passes.

A figure means nothing without its convention, so both halves of it are named values:

    linear   layers             every matrix in the layers, active experts only; the head runs on the last token only
             layers+head        and the head on every token
             layers+head+embed  and the embedding as if it were a product
             active-headline    the active parameters that the model's name rounds to ("A3B": 3.3e9)
    pairs    causal             visible pairs, exactly: N(N+1)/2 for full attention
             half-square        the same to leading order: N²/2
             square             N², as if masked pairs were computed too, whatever the window

Under `causal` the crossover is the first N at which attention exceeds the linear part; it may fall back and cross again
where keys are evicted, or where spans follow the length.  The other two are smooth formulas, whose root is rounded to
the nearest integer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from numbers import Real
from typing import Final, Literal, get_args

from attention.checks import of_kind
from attention.cost import Depth
from eval.cost.curves import AttentionCurve, Line, attending_layers
from eval.cost.shape_of import HasConfig, shape_of
from eval.cost.sign_changes import SignChanges, sign_changes
from refmodel.layer_spec import LayerSpec
from refmodel.specification import ModelConfig

Linear = Literal["layers", "layers+head", "layers+head+embed", "active-headline"]
Pairs = Literal["causal", "half-square", "square"]
Model = ModelConfig

FAR_TOKENS: Final = 2**24
"""Past every window and budget: where a variant that depends on the length is looked at for its limit."""


def linear_params(model: Model, convention: Linear = "layers") -> int:
    """Parameters that a token multiplies with, under a convention."""
    if convention == "active-headline":
        if model.headline_params is None:
            raise ValueError(f"{model.name} has no headline of active parameters; use --convention layers")
        return model.headline_params
    if convention not in get_args(Linear):
        raise ValueError(f"no convention {convention!r}; accepted: {', '.join(get_args(Linear))}")
    return model.linear_macs + model.head_macs * ("layers", "layers+head", "layers+head+embed").index(convention)


def attention_total(model: Model, tokens: int | Fraction, pairs: Pairs = "causal") -> Fraction:
    """Attention FLOPs of a prompt of `tokens`, all layers; a smooth convention takes any length."""
    if pairs not in get_args(Pairs):
        raise ValueError(f"no pairs convention {pairs!r}; accepted: {', '.join(get_args(Pairs))}")
    layers = Counter(model.at_length(math.ceil(tokens)).layers_at_depth).items()
    return Fraction(sum(times * _attention_flops(*at, tokens, pairs) for at, times in layers if at[0].attends))


def _attention_flops(layer: LayerSpec, depth: Depth, tokens: int | Fraction, pairs: Pairs) -> int | Fraction:
    if pairs == "causal":
        return layer.variant.useful(layer.heads, int(tokens), depth=depth).flops(layer.heads)
    return 4 * layer.heads.head_dim * _smooth_pairs(layer, tokens, pairs)


def _smooth_pairs(layer: LayerSpec, tokens: int | Fraction, pairs: Pairs) -> int | Fraction:
    if pairs == "square":
        return layer.heads.n_heads * Fraction(tokens) ** 2

    def ramp(n: Fraction, cap: int) -> Fraction:
        n = max(n, Fraction(0))
        head = min(n, Fraction(cap))
        return head**2 / 2 + cap * (n - head)

    if not layer.variant.has_only_a_pattern:
        raise ValueError(f"pairs half-square is a formula of windows and spans; {layer.variant} needs --pairs causal")
    n = Fraction(tokens)
    heads = layer.variant.pattern().per_head(layer.heads.n_heads)
    return sum((ramp(n, span) + ramp(n - span, sink) for span, sink in heads), Fraction(0))


def attention_share(model: Model, tokens: int, convention: Linear = "layers", pairs: Pairs = "causal") -> float:
    """attention / (attention + linear) at a prompt of `tokens`."""
    if tokens < 1:
        raise ValueError(f"a prompt has at least 1 token, got {tokens}")
    attention = attention_total(model, tokens, pairs)
    return float(attention / (attention + 2 * linear_params(model, convention) * tokens))


def limiting_share(model: Model, convention: Linear = "layers", pairs: Pairs = "causal") -> float:
    """What the share tends to as the prompt grows: 1 with any layer that looks back without bound."""
    per_token = _limiting_flops_per_token(model, pairs)
    return 1.0 if per_token is None else float(per_token / (per_token + 2 * linear_params(model, convention)))


def _limiting_flops_per_token(model: Model, pairs: Pairs) -> Fraction | None:
    total = Fraction(0)
    for unsettled, (layer, depth) in zip(model.layers, model.at_length(FAR_TOKENS).layers_at_depth, strict=True):
        if not layer.attends:
            continue
        if unsettled.variant.limiting_flops(layer.heads, depth) is None:  # also where a span grows with the sequence
            return None
        limit = None if pairs == "square" else layer.variant.limiting_flops(layer.heads, depth)
        if limit is None:
            return None
        total += limit
    return total


def crossover_tokens(
    model: str | HasConfig | Model,
    convention: Linear = "layers",
    pairs: Pairs = "causal",
    attention_cost: float | Fraction = 1,
) -> int | None:
    """N* of a model, or of one that is named, under the conventions: the first of `crossings`; None if attention never
    overtakes.

    Raises `ValueError` for an unknown model or convention, or a cost that is not above 0.

    Examples:
        >>> from eval import crossover_tokens
        >>> from refmodel.presets import preset
        >>> model = preset("smollm2-135m")
        >>> crossover_tokens(model), crossover_tokens("qwen3-30b-a3b")
        (6144, 13888)
        >>> crossover_tokens(model.with_layout("swa(1024)")) is None
        True
    """
    return crossings(shape_of(model), convention, pairs, attention_cost).first


def crossings(
    model: Model, convention: Linear = "layers", pairs: Pairs = "causal", attention_cost: float | Fraction = 1
) -> SignChanges:
    """Every N at which attention overtakes the linear layers or falls back behind them.

    `attention_cost` is the time of an attention FLOP over that of a linear one, efficiency over efficiency: it moves
    the crossover of times, which a faster card alone does not.

    Examples:
        >>> from eval.cost.crossover import crossings
        >>> from refmodel.presets import preset
        >>> found = crossings(preset("smollm2-135m").with_layout("evict(streaming, budget=500, chunk=6000)"))
        >>> found.at, found.first, found.stays_from, found.count
        ((11305, 13046, 16098), 11305, 16098, 2)
    """
    of_kind("a model's shape, such as refmodel.load(...).config,", model, ModelConfig)
    of_kind("attention_cost: a number", attention_cost, Real)
    if not attention_cost > 0:
        raise ValueError(f"attention_cost must be above 0, got {attention_cost}")
    per_token = 2 * linear_params(model, convention) / Fraction(attention_cost)
    if pairs != "causal":
        return _smooth_crossing(model, per_token, pairs)
    attention = AttentionCurve(attending_layers(model), scale=per_token.denominator)
    return sign_changes(attention, Line(per_token.numerator))


def _smooth_crossing(model: Model, per_token: Fraction, pairs: Pairs) -> SignChanges:
    """The root of a convex formula, rounded."""
    limit = _limiting_flops_per_token(model, pairs)
    if limit is not None and limit <= per_token:
        return SignChanges()

    def exceeds(n: int | Fraction) -> bool:
        return attention_total(model, n, pairs) > per_token * n

    first = first_true(exceeds)
    return SignChanges((first - 1 if exceeds(first - Fraction(1, 2)) else first,))


def first_true(condition: Callable[[int], bool], start: int = 1) -> int:
    """The smallest n >= start at which a condition that stays true once it is becomes true."""
    high = start
    while not condition(high):
        high *= 2
    low = max(start, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if condition(middle) else (middle + 1, high)
    return low
