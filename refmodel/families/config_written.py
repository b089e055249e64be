"""What the families' config.json files share, the other way: fields out of a description.

Nothing is checked here: what a family's fields do not say is seen when they are read back.  Positions are spelled
`rope_theta` and `rope_scaling`, which every version of transformers reads.
"""

from __future__ import annotations

import math
from typing import Any

from attention.sliding_window import SlidingWindow
from refmodel.families.config_fields import FULL, SLIDING
from refmodel.families.positions import ORIGINAL, PROPORTIONAL
from refmodel.layer_spec import LayerSpec
from refmodel.parts import Dense, Experts, Rope
from refmodel.rope_scaling import Divided, Dynamic, Linear, Llama3, LongRope, NoPositions, Proportional, Scaling, Yarn
from refmodel.specification import ModelConfig


def written_sizes(config: ModelConfig, model_type: str, architecture: str) -> dict[str, Any]:
    """What every family's file holds; no token has a meaning of its own, unless somebody says which."""
    first = config.layers[0]
    dense = [layer.feed_forward.d_ff for layer in config.layers if isinstance(layer.feed_forward, Dense)]
    return {
        "model_type": model_type, "architectures": [architecture], "num_hidden_layers": config.n_layers,
        "hidden_size": config.d_model, "vocab_size": config.vocab_size, "num_attention_heads": first.heads.n_heads,
        "num_key_value_heads": first.heads.n_kv_heads, "head_dim": first.heads.head_dim,
        "intermediate_size": dense[0] if dense else experts_of(config).d_expert, "rms_norm_eps": first.norm.eps,
        "max_position_embeddings": config.max_positions, "tie_word_embeddings": config.tied_head,
        "attention_bias": bool(first.attention_bias),
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip


def written_swiglu(config: ModelConfig, model_type: str, architecture: str) -> dict[str, Any]:
    """`written_sizes` and what Llama's descendants share: silu, one kind of positions."""
    return {
        **written_sizes(config, model_type, architecture), "hidden_act": "silu", **written_positions(rope_of(config))
    }  # fmt: skip


def experts_of(config: ModelConfig) -> Experts:
    """The first that there are.  Raises `ValueError` where there are none."""
    for layer in config.layers:
        if isinstance(layer.feed_forward, Experts):
            return layer.feed_forward
    raise ValueError(f"{config.name} has no experts")


def dense_layers(config: ModelConfig) -> list[int]:
    """The layers without experts."""
    return [number for number, layer in enumerate(config.layers) if isinstance(layer.feed_forward, Dense)]


def slides(layer: LayerSpec) -> bool:
    return isinstance(layer.mixer, SlidingWindow)


def window_of(config: ModelConfig) -> int | None:
    """The first that there is."""
    return next((layer.mixer.window for layer in config.layers if isinstance(layer.mixer, SlidingWindow)), None)


def written_layer_types(config: ModelConfig) -> dict[str, Any]:
    """Which layers have a window, and how long it is."""
    kinds = [SLIDING if slides(layer) else FULL for layer in config.layers]
    return {"layer_types": kinds, "sliding_window": window_of(config)}


def written_windows_after(config: ModelConfig) -> dict[str, Any]:
    """Qwen's, whose files say besides whether and after how many layers there are some."""
    first = next((i for i, layer in enumerate(config.layers) if slides(layer)), config.n_layers)
    found = written_layer_types(config)
    return {**found, "use_sliding_window": found["sliding_window"] is not None, "max_window_layers": first}


def rope_of(config: ModelConfig) -> Rope:
    """Of the first layer that has positions."""
    ropes = (layer.rope for layer in config.layers if not isinstance(layer.rope.scaling, NoPositions))
    return next(ropes, Rope())


def written_positions(rope: Rope) -> dict[str, Any]:
    """Of layers that all have the same."""
    return {"rope_theta": rope.theta, "rope_scaling": rope.scaling and written_scaling(rope.scaling)}


def written_kind(rope: Rope, head_dim: int = 0) -> dict[str, Any]:
    """Of one kind of layers: an entry of `rope_parameters`."""
    scaling = {"rope_type": "default"} if rope.scaling is None else written_scaling(rope.scaling, head_dim)
    return {**scaling, "rope_theta": rope.theta}


def written_scaling(scaling: Scaling, head_dim: int = 0) -> dict[str, Any]:
    """Raises `ValueError` for a kind that files do not have."""
    match scaling:
        case Linear(factor):
            return {"rope_type": "linear", "factor": factor}
        case Dynamic(factor):
            return {"rope_type": "dynamic", "factor": factor}
        case Yarn(factor, original, attention, fast, slow, truncate):
            return {
                "rope_type": "yarn", "factor": factor, ORIGINAL: original, "attention_factor": attention,
                "beta_fast": fast, "beta_slow": slow, "truncate": truncate,
            }  # fmt: skip
        case Llama3(factor, low, high, original):
            return {
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                ORIGINAL: original,
            }  # fmt: skip
        case LongRope(short, long, original, attention):
            return _written_longrope(short, long, original, attention)
        case Divided(factors, attention):
            return _written_longrope(factors, factors, 1, attention)
        case Proportional(turning, factor) if head_dim:
            found = {"rope_type": PROPORTIONAL, "partial_rotary_factor": _share(turning, head_dim)}
            return found if factor == 1 else {**found, "factor": factor}
    raise ValueError(f"config.json has no words for positions {scaling}")


def _written_longrope(
    short: tuple[float, ...], long: tuple[float, ...], original: int, attention: float
) -> dict[str, Any]:
    return {
        "rope_type": "longrope", "short_factor": list(short), "long_factor": list(long), ORIGINAL: original,
        "attention_factor": attention,
    }  # fmt: skip


def _share(turning: int, head_dim: int) -> float:
    """The part of a head that so many frequencies are, not rounded to one less."""
    share = 2 * turning / head_dim
    return share if int(share * head_dim // 2) == turning else math.nextafter(share, 1)
