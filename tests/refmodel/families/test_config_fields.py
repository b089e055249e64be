"""What a config.json may hold beside sizes: biases, layers without positions, and what is counted and not run."""

from __future__ import annotations

import pytest

from refmodel.parts import Rope
from refmodel.presets import refuse_to_run
from refmodel.read_hf_config import from_hf
from tests.refmodel.test_read_config import LLAMA, QWEN3

LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 2, "long_factor": [2.0] * 2}


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
            LLAMA | {"rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1}},
            "low_freq_factor 4.0 is not below high_freq_factor 1.0",
        ),
    ],
)
def test_what_costs_do_not_need_is_counted_and_not_run(fields, message):
    config = from_hf(fields)
    assert message in config.cannot_run
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
