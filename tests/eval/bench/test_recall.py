"""The benchmark of recall: a record for each layout, from the same first weights and texts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eval.bench import recall
from eval.bench.recall import optimizer_of

pytestmark = pytest.mark.usefixtures("fast_compile")


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
    assert full["steps_taken"] == 3
    with pytest.raises(ValueError, match="other steps in about"):
        recall.main(
            ["--layouts", "full", *words, "--steps", "4", "--out", str(tmp_path), "--states", str(tmp_path / "states")]
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--layouts", "full", "swo(7)"), "no attention variant 'swo'"), (("--tokens", "2000"), "--tokens must be"),
        (("--rate", "nan"), "--rate must be a number above 0, got nan"), (("--rate", "-1"), "--rate must be"),
        (("--batch-tokens", "255"), "--batch-tokens must be a whole number of at least 256"),
        (("--steps", "0"), "--steps must be"), (("--seed", "-1"), "--seed must be"),
        (("--layouts", "evict_after(h2o, budget=8)"), "acts after the prompt"),
        (("--layouts", "evict(h2o, budget=0.25, chunk=16)", "--tokens", "8"), "nothing would be evicted"),
    ],
)  # fmt: skip
def test_bad_words_are_one_line_before_anything_is_trained(words, said, tmp_path, capsys):
    with pytest.raises(SystemExit):
        recall.main([*words, "--out", str(tmp_path)])
    assert said in capsys.readouterr().err.splitlines()[-1] and not list(tmp_path.iterdir())


def test_every_layout_of_the_default_run_can_show_what_it_does():
    names = [recall.asked_of(layout, 256).layout_name for layout in recall.LAYOUTS]
    assert names[0] == "full" and len(set(names)) == len(recall.LAYOUTS)


def test_the_rate_rises_stays_and_falls():
    """Adam's moments of constant gradients are one: what a step moves is its rate."""
    optimizer, params = optimizer_of(24, 0.5), {"x": np.zeros(1, np.float32)}
    state, moved = optimizer.init(params), []
    for _ in range(24):
        update, state = optimizer.update({"x": np.ones(1, np.float32)}, state, params)
        moved.append(-float(update["x"][0]))
    falling = [0.25 * (1 + np.cos(np.pi * i / 6)) for i in range(6)]
    np.testing.assert_allclose(moved, [0, 0.25, *[0.5] * 16, *falling], rtol=1e-4)
