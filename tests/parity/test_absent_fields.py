"""What a config.json means by a field that it leaves out: transformers' configuration classes decide."""

from __future__ import annotations

import pytest

from refmodel.families import FAMILIES
from refmodel.read_hf_config import from_hf

transformers = pytest.importorskip("transformers")

SIZES = {
    "num_hidden_layers": 31, "hidden_size": 192, "num_attention_heads": 32, "vocab_size": 17, "intermediate_size": 13,
}  # fmt: skip
MOE = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 7}
# Fields that their class takes and turns into others.
TAKEN_APART = {
    "rope_theta", "rope_local_base_freq", "sliding_window_pattern", "partial_rotary_factor", "full_attention_interval",
}  # fmt: skip
NOT_THERE = {("qwen3_5_moe_text", key) for key in ("norm_topk_prob", "intermediate_size")}  # always normed, never dense
NESTED = {"qwen3_5_moe", "gemma4"}  # the models with pictures, of which the text is a part
OWN = {  # fields whose default is refused, or turned into others
    "qwen3_moe": MOE, **{one: {"hidden_size_per_layer_input": 0} for one in ("gemma4", "gemma4_text")},
}  # fmt: skip
LAYERS = {"full_attention": "full", "linear_attention": "delta"}


def fields_of(family):
    return SIZES | OWN.get(family, {})


def ours_of(family, fields):
    whole = fields_of(family) | fields
    return from_hf({"model_type": family} | ({"text_config": whole} if family in NESTED else whole))


def theirs(family, fields):
    whole = fields_of(family) | fields
    if family in NESTED:
        return transformers.AutoConfig.for_model(family, text_config=whole).text_config
    return transformers.AutoConfig.for_model(family, **whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_default_is_that_of_the_configuration_class(family):
    config = theirs(family, {"use_sliding_window": True}) if family in NESTED else transformers.AutoConfig.for_model(
        family, use_sliding_window=True
    )  # fmt: skip
    for key, value in FAMILIES[family].defaults.items():
        if key not in {"use_sliding_window", *TAKEN_APART} and (family, key) not in NOT_THERE:
            assert getattr(of_layer(config, 0), key) == value, key
    assert not FAMILIES[family].defaults.get("use_sliding_window")


@pytest.mark.parametrize("slides", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_absent_fields_are_what_transformers_takes_them_for(family, slides):
    fields = {"use_sliding_window": True} if slides and family.startswith("qwen") else {}
    config, ours = theirs(family, fields), ours_of(family, fields)
    assert not ours.cannot_run
    for number, layer in enumerate(ours.layers):
        assert (layer.heads.n_kv_heads, layer.heads.head_dim) == heads_of(config, number)
    assert (ours.max_positions, ours.final_norm.eps) == (config.max_position_embeddings, config.rms_norm_eps)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or [f"{'sliding' if window else 'full'}_attention"] * 31
    assert [str(variant) for variant in ours.layout] == [LAYERS.get(one, f"swa({window})") for one in kinds]
    assert ours.tied_head == config.tie_word_embeddings
    biased = {"qwen2": "qkv", "gpt_oss": "qkvo"}.get(family, "")
    assert {layer.attention_bias for layer in ours.layers} == {biased}
    for layer, kind, rotates in zip(ours.layers, kinds, getattr(config, "no_rope_layers", [1] * 31), strict=True):
        of_kind = config.rope_parameters.get(kind, config.rope_parameters)
        assert not rotates or layer.rope.theta == of_kind["rope_theta"]
        assert not rotates or (layer.rope.scaling is None) == (of_kind["rope_type"] == "default")
        assert rotates or not layer.rope.frequencies(layer.heads.head_dim).any()


def of_layer(config, layer):
    """The settings that hold for a layer."""
    return config.per_layer_config[layer] if config.model_type == "gemma4_text" else config


def heads_of(config, layer):
    """K and H of a layer."""
    own = of_layer(config, layer)
    return own.num_key_value_heads, getattr(own, "head_dim", None) or own.hidden_size // own.num_attention_heads
