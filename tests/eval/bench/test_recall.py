"""The benchmark of recall: a record for each layout, from the same first weights and texts."""

from __future__ import annotations

import json

import numpy as np

from eval.bench import recall
from eval.bench.recall import optimizer_of


def test_a_record_for_each_layout(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recall, "TEXTS", 3)
    words = ["--tokens", "41", "--batch-tokens", "60", "--steps", "3", "--rate", "0.01", "--seed", "5"]
    recall.main(["--layouts", "full", "swa(7)", *words, "--out", str(tmp_path), "--states", str(tmp_path / "states")])
    full, window = map(json.loads, (tmp_path / "records.jsonl").read_text().splitlines())
    assert (full["layout"], window["layout"], window["steps"], window["seed"]) == ("full", "swa(7)", 3, 5)
    for one in (full, window):
        assert [(each["tokens"], sum(each["asked"])) for each in one["recalled"]] == [(32, 6), (41, 6)]
    assert full["last_loss_nats"] != window["last_loss_nats"]
    assert {path.name for path in (tmp_path / "states").iterdir()} == {"full", "swa(7)"}
    assert capsys.readouterr().out.count("(chance 1.6%)") == 2


def test_the_rate_rises_stays_and_falls():
    """Adam's moments of constant gradients are one: what a step moves is its rate."""
    optimizer, params = optimizer_of(24, 0.5), {"x": np.zeros(1, np.float32)}
    state, moved = optimizer.init(params), []
    for _ in range(24):
        update, state = optimizer.update({"x": np.ones(1, np.float32)}, state, params)
        moved.append(-float(update["x"][0]))
    falling = [0.25 * (1 + np.cos(np.pi * i / 6)) for i in range(6)]
    np.testing.assert_allclose(moved, [0, 0.25, *[0.5] * 16, *falling], rtol=1e-4)
