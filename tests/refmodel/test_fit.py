"""Training over many steps: a run that was stopped goes on bit for bit, and never with another's states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import chex
import jax
import numpy as np
import optax
import pytest

import refmodel
from refmodel.fit import fit
from refmodel.model import Params
from refmodel.specification import ModelConfig
from refmodel.train import draw_batches, next_token_loss, train_state, train_step
from tests.compiling import unoptimised

pytestmark = pytest.mark.usefixtures("fast_compile")

MODEL = refmodel.load("tiny-dense", layout="swa(5)+full")
OPTIMIZER = optax.adamw(optax.linear_schedule(1e-2, 0.0, 11))


def batches(steps: int, seed: int = 0) -> Iterator[np.ndarray]:
    return draw_batches(np.arange(97), batch=2, tokens=7, steps=steps, seed=seed)


class Stopped(Exception):
    """What ends a run between two steps."""


def stopping_after(steps: int) -> Iterator[np.ndarray]:
    yield from batches(steps)
    raise Stopped


def twice(config: ModelConfig, params: Params, tokens_bt: jax.Array) -> jax.Array:
    return 2 * next_token_loss(config, params, tokens_bt)


def test_a_fit_is_its_steps():
    told = []
    state = fit(
        MODEL.config, OPTIMIZER, MODEL.params, batches(3), loss=twice,
        on_step=lambda step, loss: told.append((step, loss)),
    )  # fmt: skip
    expected, losses = train_state(OPTIMIZER, MODEL.params), []
    for tokens_bt in batches(3):
        expected, loss = train_step(MODEL.config, OPTIMIZER, expected, tokens_bt, loss=twice)
        losses.append(loss)
    chex.assert_trees_all_equal(state, expected)
    assert told == list(enumerate(losses, 1))


@pytest.mark.parametrize(("stops", "kept"), [(2, 0), (3, 3), (5, 3)])
def test_a_stopped_run_goes_on_bit_for_bit(stops, kept, tmp_path):
    whole = fit(MODEL.config, OPTIMIZER, MODEL.params, batches(7))
    with pytest.raises(Stopped):
        fit(MODEL.config, OPTIMIZER, MODEL.params, stopping_after(stops), folder=tmp_path, every=3)
    taken = []
    found = fit(
        MODEL.config, OPTIMIZER, MODEL.params, batches(7), folder=tmp_path, every=3,
        on_step=lambda step, _: taken.append(step),
    )  # fmt: skip
    assert taken == list(range(kept + 1, 8))
    chex.assert_trees_all_equal(found, whole)
    chex.assert_trees_all_equal(fit(MODEL.config, OPTIMIZER, MODEL.params, batches(7), folder=tmp_path, every=3), whole)
    assert len(taken) == 7 - kept


def test_only_the_last_state_is_kept(tmp_path):
    fit(MODEL.config, OPTIMIZER, MODEL.params, batches(5), folder=tmp_path / "new" / "er", every=2)
    assert [path.name for path in (tmp_path / "new" / "er" / "states").iterdir() if path.is_dir()] == ["5"]


def scaled(factor: float, config: ModelConfig, params: Params, tokens_bt: jax.Array) -> jax.Array:
    return factor * next_token_loss(config, params, tokens_bt)


OTHERS = {
    "model": {"config": replace(MODEL.config, logit_cap=30.0)},
    "parameters": {"params": refmodel.load("tiny-dense", layout="swa(5)+full", seed=1).params},
    "optimizer": {"optimizer": optax.sgd(1e-2)},
    "optimizer of another rule": {"optimizer": optax.nadamw(optax.linear_schedule(1e-2, 0.0, 11))},
    "optimizer that climbs": {"optimizer": optax.adamw(optax.linear_schedule(-1e-2, 0.0, 11))},
    "optimizer at another rate": {"optimizer": optax.adamw(optax.linear_schedule(2e-2, 0.0, 11))},
    "loss": {"loss": twice},
    "loss in a partial": {"loss": partial(scaled, 3.0)},
    "seed in about": {"about": {"seed": 1}},
    "first batch": {"batches": batches(5, seed=1)},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What was trained, and the files of its states."""
    folder = tmp_path_factory.mktemp("trained")
    of = {"config": MODEL.config, "optimizer": OPTIMIZER, "params": MODEL.params, "folder": folder}
    of |= {"about": {"seed": 0}, "loss": partial(scaled, 1.0)}
    with unoptimised():
        fit(**of, batches=batches(2))
    return of, {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("other", OTHERS)
def test_states_of_another_training_are_refused_and_stay(other, trained):
    of, before = trained
    word = other.split(" at ")[0].split(" of ")[0].split(" that ")[0].removesuffix(" in a partial")
    with pytest.raises(ValueError, match=rf"holds states of another training \(other [\w, ]*{word}"):
        fit(**({**of, "batches": batches(5)} | OTHERS[other]))
    assert {path: path.read_bytes() for path in of["folder"].rglob("*") if path.is_file()} == before


def test_what_cannot_be_gone_on_with_is_refused(tmp_path):
    of = {"config": MODEL.config, "optimizer": OPTIMIZER, "params": MODEL.params}
    with pytest.raises(ValueError, match="batches has none"):
        fit(**of, batches=())
    with pytest.raises(ValueError, match="every must be"):
        fit(**of, batches=batches(2), every=0)
    with pytest.raises(ValueError, match="about: a mapping of names"):
        fit(**of, batches=batches(2), about=3)
    for wrong in ("", "[]", "3"):
        (tmp_path / "broken").mkdir(exist_ok=True)
        (tmp_path / "broken" / "training.json").write_text(wrong)
        with pytest.raises(ValueError, match="training.json cannot be read" if wrong != "[]" else "other model"):
            fit(**of, batches=batches(2), folder=tmp_path / "broken")
    with pytest.raises(ValueError, match="is no folder: name another"):
        fit(**of, batches=batches(2), folder=tmp_path / "broken" / "training.json")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with pytest.raises(ValueError, match="is not empty, and holds no training"):
        fit(**of, batches=batches(2), folder=tmp_path / "mine")
    fit(**of, batches=batches(3), folder=tmp_path / "states")
    with pytest.raises(ValueError, match="holds a state after 3 steps, and there are batches for 2"):
        fit(**of, batches=batches(2), folder=tmp_path / "states")


def test_a_run_that_fails_before_its_first_state_leaves_no_trace(tmp_path):
    of = {"config": MODEL.config, "optimizer": OPTIMIZER, "params": MODEL.params, "folder": tmp_path / "states"}
    with pytest.raises(ValueError, match="vocabulary"):
        fit(**of, batches=[np.full((2, 7), 99_999)])
    assert not list(tmp_path.iterdir())
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "training.new").touch()  # of a stop before it had its name
    fit(**of, batches=batches(1))
