"""Gemma 3 (2503.19786), the text model: five windows to a layer that sees all, four norms a block, scaled embedding."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from attention.cost import Heads
from attention.full import Full
from attention.layout import Layout
from attention.sliding_window import SlidingWindow
from refmodel.families import config_fields, gguf_fields, gguf_positions
from refmodel.families.config_fields import FULL, SLIDING, checked_kinds, layout_of
from refmodel.families.config_written import slides, written_kind, written_layer_types, written_scaling, written_sizes
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_positions import decimal
from refmodel.families.positions import Positions, computed, positions_of
from refmodel.fields import MOST_WHOLE, Fields, told
from refmodel.layer_spec import LayerSpec
from refmodel.parts import Dense, Norm, Rope
from refmodel.rope_scaling import Linear
from refmodel.specification import ModelConfig
from refmodel.words import brief

CYCLE: Final = 6
_ACTIVATION: Final = "gelu_pytorch_tanh"
_LOCAL, _WORLD = Rope(10_000.0), Rope(1_000_000.0)

# Files on the Hub leave most of them out.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6,
    "max_position_embeddings": 131_072, "query_pre_attn_scalar": 256, "sliding_window": 4096,
    "tie_word_embeddings": True, "hidden_activation": _ACTIVATION, "sliding_window_pattern": CYCLE,
    "attention_bias": False, "rope_theta": _WORLD.theta, "rope_local_base_freq": _LOCAL.theta,
}  # fmt: skip


def local_global(n_layers: int, window: int, every: int = CYCLE) -> Layout:
    """Every `every`-th layer global, starting with local ones; a last incomplete cycle is local."""
    return tuple(Full() if (i + 1) % every == 0 else SlidingWindow(window) for i in range(n_layers))


def gemma3(
    name: str, d_model: int, heads: tuple[int, int, int], d_ff: int, layout: Layout, *, vocab_size: int,
    query_scale: float, norm_eps: float = 1e-6, local: Rope = _LOCAL, world: Rope = _WORLD,
    max_positions: int = 131_072, tied_head: bool = True, attention_bias: str = "", cannot_run: str = "",
) -> ModelConfig:  # fmt: skip
    """A Gemma-3 text model of (N, K, H) heads; layers with a window turn by `local`, the others by `world`.

    `query_scale` is what the softmax scale is the inverse square root of.
    """
    norm = Norm(norm_eps, offset=1.0, after=True)
    scale = None if query_scale == heads[2] else query_scale**-0.5
    layers = tuple(
        LayerSpec(
            mixer, Heads(*heads, d_model), Dense(d_ff, "gelu_tanh"), norm,
            local if isinstance(mixer, SlidingWindow) else world, attention_bias=attention_bias, softmax_scale=scale,
        )
        for mixer in layout
    )  # fmt: skip
    return ModelConfig(
        name, layers, d_model, vocab_size, tied_head=tied_head, final_norm=norm, embedding_scale=d_model**0.5,
        max_positions=max_positions, cannot_run=cannot_run,
    )  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    given = {key: value for key, value in fields.values.items() if value is not None}
    fields = Fields({**_DEFAULTS, **given}, fields.where)
    found = config_fields.sizes(fields)

    def sees_all(layer: int) -> bool:
        return (layer + 1) % fields.within("sliding_window_pattern", 1, MOST_WHOLE, kind=int) == 0

    layout = layout_of(checked_kinds(fields, found["n_layers"], sees_all), fields.get("sliding_window", int))
    local, world = _positions(fields, found["head_dim"])
    others = (
        fields.objection("hidden_activation", _ACTIVATION),
        *(fields.objection(key, None) for key in ("final_logit_softcapping", "attn_logit_softcapping")),
    )
    return gemma3(
        name, found["d_model"], (found["n_heads"], found["n_kv_heads"], found["head_dim"]), found["d_ff"], layout,
        vocab_size=found["vocab_size"], query_scale=fields.above_0("query_pre_attn_scalar"),
        norm_eps=found["norm_eps"], local=local.rope, world=world.rope, max_positions=found["max_positions"],
        tied_head=found["tied_head"], attention_bias="qkvo" if fields.get("attention_bias", bool) else "",
        cannot_run=next(filter(None, (*others, local.cannot_run, world.cannot_run)), ""),
    )  # fmt: skip


def _positions(fields: Fields, head_dim: int) -> tuple[Positions, Positions]:
    """Of local and of global layers: in fields of their own in older files, in `rope_parameters` in newer ones."""
    bases = {SLIDING: "rope_local_base_freq", FULL: "rope_theta"}

    def own(kind: str) -> dict[str, Any]:
        newer = Fields(fields.get("rope_parameters", dict, {}), f"{fields.where}: rope_parameters")
        newer.refuse_others((SLIDING, FULL))
        older = fields.get("rope_scaling", dict, {}) if kind == FULL else {}
        given = {**newer.get(kind, dict, {}), **older}
        return {"rope_theta": fields.values[bases[kind]], **{key: one for key, one in given.items() if one is not None}}

    local, world = (
        positions_of(fields, partial(own, kind), f"positions of {kind}", head_dim) for kind in (SLIDING, FULL)
    )
    return local, world


def _to_config(config: ModelConfig) -> dict[str, Any]:
    first, windows = config.layers[0], written_layer_types(config)
    local, world = (_rope_of(config, kind, rope) for kind, rope in ((True, _LOCAL), (False, _WORLD)))
    return {
        **written_sizes(config, "gemma3_text", "Gemma3ForCausalLM"), "hidden_activation": _ACTIVATION, **windows,
        "sliding_window": windows["sliding_window"] or _DEFAULTS["sliding_window"],
        "query_pre_attn_scalar": _scalar(first.softmax_scale, first.heads.head_dim),
        **_written_positions(local, world),
    }  # fmt: skip


def _rope_of(config: ModelConfig, local: bool, usual: Rope) -> Rope:
    return next((layer.rope for layer in config.layers if slides(layer) == local), usual)


def _written_positions(local: Rope, world: Rope) -> dict[str, Any]:
    """As older files have them, too, where those have words for it."""
    if local.scaling is not None:
        return {"rope_parameters": {SLIDING: written_kind(local), FULL: written_kind(world)}}
    scaling = world.scaling and written_scaling(world.scaling)
    return {"rope_theta": world.theta, "rope_local_base_freq": local.theta, "rope_scaling": scaling}


def _scalar(scale: float | None, head_dim: int) -> float:
    """What the softmax scale is the inverse square root of: without the last digits, which rounding makes."""
    found = head_dim if scale is None else float(f"{scale**-2:.12g}")
    return int(found) if found == int(found) else found


def _from_header(header: GgufHeader) -> ModelConfig:
    """llama.cpp's converter does not keep the softmax scale, and the local layers' base only since files may say it."""
    own, found = header.fields, gguf_fields.sizes(header)
    heads, layers = (found["n_heads"], found["n_kv_heads"], found["head_dim"]), found["n_layers"]
    world = gguf_positions.positions(header, found["head_dim"], _WORLD.theta)
    local, no_local = told(lambda: _local(own, found["head_dim"]), _LOCAL)
    return gemma3(
        header.name, found["d_model"], heads, gguf_fields.width(own), stored_layout(own, layers),
        vocab_size=found["vocab_size"], query_scale=_query_scale(layers, found["d_model"], heads),
        norm_eps=found["norm_eps"], local=local, world=world.rope, max_positions=found["max_positions"],
        tied_head=found["tied_head"], attention_bias=found["attention_bias"],
        cannot_run=next(filter(None, (found["cannot_run"], world.cannot_run, no_local)), ""),
    )  # fmt: skip


def _local(own: Fields, head_dim: int) -> Rope:
    return computed(Rope(decimal(own.above_0("rope.freq_base_swa", _LOCAL.theta))), head_dim, own.where)


def stored_layout(own: Fields, n_layers: int) -> Layout:
    """`attention.sliding_window_pattern`: every how many layers one sees all (0: none), or whether each slides."""
    key, window = "attention.sliding_window_pattern", own.get("attention.sliding_window", int)
    if isinstance(slides := own.values.get(key), list):
        if len(slides) != n_layers or not all(type(one) is bool for one in slides):
            wanted = f"true or false for each of {n_layers} layers"
            raise ValueError(f"{own.where}: {key} must hold {wanted}, got {brief(slides)}")
        return layout_of([SLIDING if one else FULL for one in slides], window)
    return local_global(n_layers, window, own.within(key, 0, MOST_WHOLE, CYCLE, int) or n_layers + 1)


def _query_scale(n_layers: int, d_model: int, heads: tuple[int, int, int]) -> float:
    """H, but for the largest of the family, which is told by its 62 layers: D / N."""
    return d_model / max(heads[0], 1) if n_layers == 62 else heads[2]


FAMILY: Final = Family("gemma3_text", _from_config, "gemma3", _from_header, defaults=_DEFAULTS, to_config=_to_config)


def _preset(size: str, n_layers: int, d_model: int, heads: tuple[int, int, int], d_ff: int, window: int) -> ModelConfig:
    return gemma3(
        f"gemma3-{size}", d_model, heads, d_ff, local_global(n_layers, window), vocab_size=262_144,
        query_scale=_query_scale(n_layers, d_model, heads),
        world=_WORLD if size in ("270m", "1b") else Rope(_WORLD.theta, Linear(8.0)),
        max_positions=32_768 if size in ("270m", "1b") else 131_072,
    )  # fmt: skip


PRESETS: Final = (
    _preset("270m", 18, 640, (4, 1, 256), 2048, 512),
    _preset("1b", 26, 1152, (4, 1, 256), 6912, 512),
    _preset("4b", 34, 2560, (8, 4, 256), 10_240, 1024),
    _preset("12b", 48, 3840, (16, 8, 256), 15_360, 1024),
    _preset("27b", 62, 5376, (32, 16, 128), 21_504, 1024),
)
