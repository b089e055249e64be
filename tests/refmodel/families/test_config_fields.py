"""What a config.json may hold beside sizes: biases, layers without positions, and what is counted and not run."""

from __future__ import annotations

import math

import pytest

from refmodel.parts import Rope
from refmodel.presets import refuse_to_run
from refmodel.read_hf_config import from_hf
from refmodel.rope_scaling import LongRope
from tests.refmodel.test_read_config import LLAMA, QWEN3

LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 2, "long_factor": [2.0] * 2}
YARN, DYNAMIC = ({"rope_type": kind, "factor": 4.0} for kind in ("yarn", "dynamic"))
SMOLLM3 = LLAMA | {"model_type": "smollm3"}
GEMMA3 = LLAMA | {"model_type": "gemma3_text"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (LLAMA | {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        (QWEN3 | {"mlp_bias": True}, "mlp_bias is True"),
        (LLAMA | {"model_type": "mistral", "attention_bias": True}, "attention_bias is True"),
        (LLAMA | {"partial_rotary_factor": 0.25}, "partial_rotary_factor is 0.25"),
        (
            LLAMA | {"rope_scaling": {"type": "su", "factor": 2.0}},
            "rope_scaling: type is 'su'; accepted: 'default', ",
        ),
        (LLAMA | {"rope_scaling": {"type": "linear"}}, "rope_scaling: factor is missing"),
        (LLAMA | {"rope_scaling": {"type": "linear", "factor": -2.0}}, "factor must be above 0, got -2.0"),
        (LLAMA | {"rope_scaling": ["linear"]}, "rope_scaling must be of type dict"),
        (LLAMA | {"rope_parameters": {"rope_type": 3}}, "rope_parameters: rope_type is 3"),
        (LLAMA | {"rope_parameters": {"full_attention": {}}}, "rope_parameters holds full_attention"),
        (
            LLAMA | {"rope_parameters": LONGROPE | {"long_factor": [2.0]}},
            "long_factor must hold 2 numbers above 0",
        ),
        (
            LLAMA | {"rope_parameters": LONGROPE | {"long_factor": [2.0, 2.0, "2"]}},
            "long_factor must hold 2 numbers above 0, got 3 items, 2 of them so",
        ),
        (
            LLAMA | {"rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1}},
            "low_freq_factor 4.0 is not below high_freq_factor 1.0",
        ),
        (
            LLAMA | {"rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4}},
            "low_freq_factor 4.0 is not below high_freq_factor 4.0",
        ),
        (LLAMA | {"rope_theta": -5}, "rope_theta must be above 0, got -5.0"),
        (LLAMA | {"rope_theta": math.nan}, "rope_theta must be above 0, got nan"),
        (LLAMA | {"rope_theta": math.inf}, "rope_theta must be from 1e-30 to 1e+30, got inf"),
        (LLAMA | {"rope_theta": 10**400}, "rope_theta must be a number that floats hold, got 1000"),
        (LLAMA | {"rope_theta": None}, "rope_theta is missing"),
        (QWEN3 | {"rope_theta": 1e-30}, "base 1e-30 and scaling give angles that float32 does not hold"),
        (LLAMA | {"rope_theta": 1.0, "rope_scaling": YARN}, "yarn positions need a base (theta) above 1, got 1.0"),
        (LLAMA | {"rope_scaling": YARN | {"beta_fast": -1}}, "beta_fast must be above 0, got -1.0"),
        (LLAMA | {"rope_scaling": YARN | {"beta_slow": math.nan}}, "beta_slow must be above 0, got nan"),
        (LLAMA | {"rope_scaling": YARN | {"mscale": -1.0}}, "mscale must be above 0, got -1.0"),
        (LLAMA | {"rope_scaling": YARN | {"attention_factor": 0.0}}, "attention_factor must be above 0, got 0.0"),
        (LLAMA | {"rope_scaling": YARN | {"attention_factor": 1e20}}, "angles that float32 does not hold"),
        (
            LLAMA | {"rope_scaling": YARN | {"original_max_position_embeddings": 0.5}},
            "original_max_position_embeddings must be from 1 to 2,147,483,647, got 0.5",
        ),
        (
            LLAMA | {"rope_scaling": LONGROPE | {"original_max_position_embeddings": 1}},
            "longrope needs an attention factor, or an original context above 1, got 1",
        ),
        (LLAMA | {"rope_scaling": LONGROPE | {"short_factor": [1.0, 10**400]}}, "got 2 items, 1 of them so"),
        (LLAMA | {"rope_scaling": LONGROPE | {"short_factor": [1.0, True]}}, "short_factor must hold 2 numbers"),
        (LLAMA | {"rope_scaling": LONGROPE | {"short_factor": [1.0, math.nan]}}, "short_factor must hold 2 numbers"),
        (LLAMA | {"rope_scaling": {"type": "dynamic", "factor": 1e29}}, "angles that float32 does not hold"),
        (QWEN3 | {"head_dim": 2, "rope_scaling": DYNAMIC}, "dynamic positions need a head size above 2, got 2"),
        (LLAMA | {"rope_scaling": {"a\nb": 1}}, "rope_scaling holds 'a\\nb'; accepted: "),
    ],
)
def test_what_costs_do_not_need_is_counted_and_not_run(fields, message):
    config = from_hf(fields)
    assert message in config.cannot_run and "\n" not in config.cannot_run
    kind = fields["model_type"]
    plain = from_hf({key: fields[key] for key in QWEN3 if key in fields} | {"model_type": kind})
    assert config.linear_macs == plain.linear_macs
    with pytest.raises(ValueError, match=r"can be costed .* and not run: config: "):
        refuse_to_run(config)


@pytest.mark.parametrize(
    ("fields", "attention", "feed_forward"),
    [
        (LLAMA, "", False),
        (LLAMA | {"attention_bias": True}, "qkvo", False),
        (LLAMA | {"attention_bias": True, "mlp_bias": True}, "qkvo", True),
        (QWEN3 | {"attention_bias": True}, "qkvo", False),
        (LLAMA | {"model_type": "qwen2"}, "qkv", False),
    ],
)
def test_hf_biases(fields, attention, feed_forward):
    (layer,) = from_hf(fields).distinct_layers
    assert (layer.attention_bias, layer.feed_forward.bias) == (attention, feed_forward)


def test_hf_layers_without_positions():
    smollm3 = LLAMA | {"model_type": "smollm3", "num_hidden_layers": 9}
    rotates = [layer.rope == Rope(2e6) for layer in from_hf(smollm3).layers]
    assert rotates == [True, True, True, False] * 2 + [True]
    marks = [1, 0, 0, 1, 1, 1, 1, 0, 1, 1]  # "at least the same length"
    config = from_hf(smollm3 | {"no_rope_layers": marks, "use_sliding_window": True})
    assert [layer.rope == Rope(2e6) for layer in config.layers] == [mark == 1 for mark in marks[:9]]
    assert [str(layer.mixer) for layer in config.layers] == ["full" if mark else "swa(7)" for mark in marks[:9]]
    with pytest.raises(ValueError, match="no_rope_layers must hold 0 or 1 for each of 9 layers, got"):
        from_hf(smollm3 | {"no_rope_layers": marks[:8]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *((LLAMA | {"model_type": kind, "is_causal": False}, "is_causal is False; accepted: True")
          for kind in ("llama", "qwen2", "qwen3", "mistral", "smollm3", "gemma3_text")),
        (QWEN3 | {"use_bidirectional_attention": True}, "use_bidirectional_attention is True; accepted: False"),
        (GEMMA3 | {"layer_types": ["full_attention"] * 3}, "layer_types holds 3 entries for 5 layers"),
        (QWEN3 | {"layer_types": [], "use_sliding_window": True}, "layer_types holds 0 entries for 5 layers"),
        (SMOLLM3 | {"layer_types": ["full_attention"] * 6}, "layer_types holds 6 entries for 5 layers"),
        (SMOLLM3 | {"no_rope_layer_interval": 0}, "no_rope_layer_interval must be from 1 to 2,147,483,647, got 0"),
        (SMOLLM3 | {"no_rope_layers": [[1]] * 5}, "no_rope_layers must hold 0 or 1 for each of 5 layers, got"),
        (GEMMA3 | {"sliding_window_pattern": 0}, "sliding_window_pattern must be from 1 to 2,147,483,647, got 0"),
        (GEMMA3 | {"query_pre_attn_scalar": -4}, "query_pre_attn_scalar must be above 0, got -4.0"),
        (GEMMA3 | {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar must be above 0, got 0.0"),
        (QWEN3 | {"num_hidden_layers": 2**63}, "num_hidden_layers must be a whole number of 32 bits, got 922"),
        (QWEN3 | {"num_hidden_layers": 10**6}, "num_hidden_layers must be from 1 to 10,000, got 1000000"),
        (QWEN3 | {"hidden_size": 10**4000}, "hidden_size must be a whole number of 32 bits, got 1000"),
        (QWEN3 | {"num_attention_heads": 2**20}, "n_heads must be at most 65,536, got 1048576"),
        (QWEN3 | {"head_dim": 2**17}, "head_dim must be at most 65,536, got 131072"),
        (QWEN3 | {"rms_norm_eps": math.nan}, "rms_norm_eps must be from 0 to 1, got nan"),
        (QWEN3 | {"max_position_embeddings": 0}, "max_positions must be at least 1, got 0"),
        (QWEN3 | {"hidden_size": "a\nb" * 99}, r"hidden_size must be of type int, got 'a\\nba"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_in_one_line(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_hf(fields)
    assert str(caught.value).startswith("config: ") and len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_layers_that_are_alike_are_worked_out_once():
    deep = from_hf(QWEN3 | {"num_hidden_layers": 10_000, "use_sliding_window": True})
    assert len({id(layer) for layer in deep.layers}) == 2
    assert deep.params == 3 * deep.layers[0].params + 9_997 * deep.layers[-1].params + 2 * 17 * 24 + 24


def test_a_base_may_be_a_whole_number_of_more_than_32_bits():
    found = from_hf(LLAMA | {"rope_theta": 10**11})
    assert (found.layers[0].rope, found.cannot_run) == (Rope(1e11), "")


def test_what_only_a_default_would_need_is_not_looked_at():
    marks, kinds = [1, 0, 1, 1, 0], ["full_attention"] * 4 + ["sliding_attention"]
    for interval in (None, 0):
        found = from_hf(SMOLLM3 | {"no_rope_layers": marks, "no_rope_layer_interval": interval})
        assert [layer.rope == Rope(2e6) for layer in found.layers] == [mark == 1 for mark in marks]
    found = from_hf(GEMMA3 | {"layer_types": kinds, "sliding_window_pattern": 0})
    assert [str(layer.mixer) for layer in found.layers] == ["full"] * 4 + ["swa(7)"]
    longrope = LONGROPE | {"original_max_position_embeddings": 1, "attention_factor": 1.5}
    found = from_hf(LLAMA | {"rope_parameters": longrope})
    assert (found.layers[0].rope.scaling, found.cannot_run) == (LongRope((1.0,) * 2, (2.0,) * 2, 1, 1.5), "")


def test_the_base_of_the_group_counts_before_a_null_one():
    """As in transformers, which keeps the base that `rope_parameters` has."""
    inside = {"rope_theta": 5e5, "rope_type": "default"}
    for outside in (None, "none of its type", 7.0):
        found = from_hf(LLAMA | {"rope_theta": outside, "rope_parameters": inside})
        assert (found.layers[0].rope, found.cannot_run) == (Rope(5e5), "")
