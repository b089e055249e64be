"""The decode benchmark on a small model: what a record holds, and the bytes that it divides by."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import pytest

from eval.bench import decode
from refmodel.presets import preset

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fast_compile")]


def test_a_record_of_a_step(tmp_path, capsys):
    out = tmp_path / "decode.jsonl"
    words = ["--model", "tiny-dense", "--layouts", "swa(5)+full", "--contexts", "37", "--samples", "2"]
    decode.main([*words, "--dtype", "float32", "--batches", "1", "3", "--out", str(out)])
    one, three = map(json.loads, out.read_text().splitlines())
    assert (one["batch"], three["batch"], one["context_tokens"], len(one["samples_ms"])) == (1, 3, 37, 2)
    assert all(ms > 0 for ms in one["samples_ms"]) and one["git_commit"]

    config = preset("tiny-dense")
    heads, slots = config.layers[0].heads, (4, 37 + 16 * 3 // 2)  # what a window of 5 and a full layer hold by then
    kv_values = 2 * heads.n_kv_heads * heads.head_dim * (config.n_layers // 2) * sum(kept + 1 for kept in slots)
    weights = one["step_bytes"] / 2 - kv_values  # the embedding is the head; norms are no products
    assert 0.98 * config.params < weights < config.params
    assert three["step_bytes"] is None  # experts in use are not known
    printed = capsys.readouterr().out.splitlines()
    assert "TB/s" in printed[0] and "tokens/s" in printed[1] and "TB/s" not in printed[1]


def test_logits_that_are_not_finite_are_no_record(monkeypatch):
    params = jax.tree.map(lambda x: x * jnp.nan, decode.random_params(preset("tiny-dense"), 0, jnp.float32))
    monkeypatch.setattr(decode, "random_params", lambda *_: params)
    with pytest.raises(FloatingPointError, match="full: logits after 7 tokens are not finite"):
        decode.main(["--model", "tiny-dense", "--layouts", "full", "--contexts", "7", "--dtype", "float32"])
