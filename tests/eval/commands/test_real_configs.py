"""Published config.json files: `crossover` answers for each, and their parameters are as many as their makers say."""

from __future__ import annotations

import json

import pytest

from eval.cli import main
from refmodel.read_hf_config import from_hf
from tests.golden.real_configs import CONFIGS

# As their makers count them, or as the sum of the stored tensors says.
PARAMS = {
    "Qwen3-30B-A3B-Instruct-2507": 30_532_122_624,
    "Qwen3-Coder-30B-A3B-Instruct": 30_532_122_624,
    "Qwen3-30B-A3B-FP8": 30_532_122_624,
    "Qwen3-0.6B with YaRN": 596_049_920,
    "Qwen3-8B with YaRN": 8_190_735_360,
    "Llama-3.1-8B": 8_030_261_248,
    "Mistral-7B-v0.1": 7_241_732_096,
    "Mistral-7B-v0.3": 7_248_023_552,
    "SmolLM2-135M": 134_515_008,
    "SmolLM3-3B": 3_075_098_624,
    "Qwen2.5-7B with a window": 7_615_616_512,
    "gpt-oss-20b": 20_914_757_184,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_crossover_answers(name, tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIGS[name]))
    assert main(["crossover", "--model", str(folder), "--layouts", "own", "full", "--json"]) == 0
    own, full = (one["crossover_tokens"] for one in json.loads(capsys.readouterr().out)["layouts"])
    config = from_hf(CONFIGS[name])
    assert full and (own == full) == (str(config.layout_name) == "full")
    assert (config.params, config.cannot_run) == (PARAMS[name], "")
