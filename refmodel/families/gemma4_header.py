"""Gemma 4 in GGUF files: sizes of the layers with a window in keys that end in `_swa`, or in lists layer by layer."""

from __future__ import annotations

from typing import Any

from attention.full import Full
from refmodel.families import gguf_fields
from refmodel.families.family import GgufHeader
from refmodel.families.gemma3 import stored_layout
from refmodel.families.gguf_positions import decimal
from refmodel.fields import Fields
from refmodel.parts import Dense, Experts, FeedForward
from refmodel.words import brief


def arguments(header: GgufHeader) -> dict[str, Any]:
    """Those of `refmodel.families.gemma4.gemma4`.

    A global layer without `attn_v.weight` has keys for values.  Raises `ValueError` naming the key for what neither
    runs nor is counted.
    """
    own = header.fields
    for key in ("attention.shared_kv_layers", "embedding_length_per_layer_input"):
        own.require(key, 0)
    layout = stored_layout(own, own.get("block_count", int))
    sees_all = [isinstance(mixer, Full) for mixer in layout]
    local, world = (gguf_fields.sizes(_of_kind(header, sees_all, kind)) for kind in (False, True))
    capped = own.get("final_logit_softcapping", float, 0.0) != 0
    first = sees_all.index(True) if any(sees_all) else None
    return {
        "name": header.name, "d_model": world["d_model"], "local": _sizes(local), "world": _sizes(world),
        "layout": layout, "feed_forward": _feed_forward(own), "vocab_size": header.vocab_size,
        "values_are_keys": first is not None and f"blk.{first}.attn_v.weight" not in header.tensors,
        "local_rope": local["rope"], "world_rope": world["rope"], "norm_eps": world["norm_eps"],
        "attention_bias": header.attention_bias, "tied_head": header.tied_head, "max_positions": world["max_positions"],
        "logit_cap": decimal(own.above_0("final_logit_softcapping")) if capped else None,
        "cannot_run": local["cannot_run"] or world["cannot_run"],
    }  # fmt: skip


def _of_kind(header: GgufHeader, sees_all: list[bool], kind: bool) -> GgufHeader:
    """The header as if all layers were of one kind: those that see all (`kind`), or those with a window."""
    own = header.fields
    values = {**own.values, "final_logit_softcapping": None, **_heads(own, sees_all, kind)}
    if kind:
        return header._replace(fields=Fields(values, own.where))
    values |= {
        "attention.key_length": own.get("attention.key_length_swa", int),
        "attention.value_length": own.values.get("attention.value_length_swa"),
        "rope.dimension_count": own.values.get("rope.dimension_count_swa"),
        "rope.freq_base": own.values.get("rope.freq_base_swa", own.values.get("rope.freq_base")),
    }
    return header._replace(fields=Fields(values, own.where), rope_factors=lambda *_: None)


def _heads(own: Fields, sees_all: list[bool], kind: bool) -> dict[str, Any]:
    """`attention.head_count_kv` of the layers of a kind, which is a number for all, or a list of one for each."""
    key = "attention.head_count_kv"
    if not isinstance(each := own.values.get(key), list):
        return {}
    are_numbers = all(isinstance(count, int) for count in each)  # a list may hold lists, which no set takes
    of_kind = {count for count, world in zip(each, sees_all, strict=False) if world == kind} if are_numbers else set()
    if not are_numbers or len(each) != len(sees_all) or len(of_kind) > 1:
        raise ValueError(f"{own.where}: {key} must hold a number for each of {len(sees_all)} layers, the same for all "
                         f"with a window and for all without, got {brief(each)}")  # fmt: skip
    return {key: of_kind.pop() if of_kind else each[0]}


def _sizes(found: dict[str, Any]) -> tuple[int, int, int]:
    return found["n_heads"], found["n_kv_heads"], found["head_dim"]


def _feed_forward(own: Fields) -> FeedForward:
    dense = Dense(gguf_fields.width(own), "gelu_tanh")
    if not (experts := own.get("expert_count", int, 0)):
        return dense
    sizes = own.get("expert_used_count", int), own.get("expert_feed_forward_length", int)
    return Experts(experts, *sizes, activation="gelu_tanh", beside=dense)
