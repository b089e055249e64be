"""What docs/extending.md shows of models and their weights is carried out: families, formats, codings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from refmodel.checkpoint.find import open_config
from refmodel.checkpoint.formats import WEIGHT_FORMATS
from refmodel.families import FAMILIES
from tests.printed import blocks, carry_out

SIZES = {
    "hidden_size": 28, "intermediate_size": 26, "num_hidden_layers": 7, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 31, "max_position_embeddings": 64,
}  # fmt: skip


def shown(part: str) -> str:
    """The one example that has this in it."""
    (text,) = (text for text in blocks("docs/extending.md", "python") if part in text)
    return text


def test_a_family_from_outside(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "my_windowed", **SIZES}))
    with FAMILIES.temporarily():
        carry_out(shown("FAMILIES.register("))
        config = open_config(str(tmp_path))
    assert [str(layer.mixer) for layer in config.layers] == [*["swa(512)"] * 5, "full", "swa(512)"]
    assert config.layers[0].qk_norm and config.d_model == 28


def test_a_weight_format_from_outside() -> None:
    with WEIGHT_FORMATS.temporarily():
        carry_out(shown("WEIGHT_FORMATS.register("))
        one = WEIGHT_FORMATS["I8"]
    assert one.fits((3, 2), (3,)) and not one.fits((3, 2), (2,))
    found = one.decode(np.int8([[3, -2], [5, 7]]), np.float32([0.5, 2]))
    np.testing.assert_array_equal(found, [[1.5, -1], [10, 14]])


def test_a_coding_from_outside() -> None:
    names = carry_out(shown("PowersOfTwo(Coding)"))
    signs_and_powers = [sign * 2.0 ** (i - 7) for sign in (1, -1) for i in range(8)]
    np.testing.assert_array_equal(names["numbers"][0, :64], signs_and_powers * 4)
    np.testing.assert_array_equal(names["numbers"][0, 64:], [2 * number for number in signs_and_powers * 4])
