"""Many training steps; a run that was stopped goes on from its last kept state, bit for bit, and orbax keeps it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
import optax

from attention.checks import whole
from refmodel.model import Params
from refmodel.specification import ModelConfig
from refmodel.token_ids import Ids
from refmodel.train import Loss, TrainState, next_token_loss, train_state, train_step

__all__ = ["fit"]

ABOUT: Final = "training.json"
"""Beside the states: of which training they are."""


def fit(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    params: Params,
    batches: Iterable[Ids],
    *,
    loss: Loss = next_token_loss,
    folder: str | Path | None = None,
    every: int = 500,
    on_step: Callable[[int, jax.Array], None] = lambda step, loss: None,
) -> TrainState:
    """A step of `refmodel.train.train_step` for each batch, from `params`, and the state after the last.

    Args:
        batches: tokens [B, T] for each step, the same each time that they are gone through: a generator with a seed.
        folder: keeps the state after every `every` steps and the last; a call that finds one goes on behind it.
        on_step: is told of each step that is taken, its number, from 1 on, and its loss (not waited for).

    Raises:
        ValueError: where `folder` holds the states of another training: of another model, other parameters to begin
            with, another loss, another kind of optimizer or another first batch.  Numbers that an optimizer was made
            with are not known of it.

    Examples:
        >>> import optax, refmodel, numpy as np
        >>> from refmodel.fit import fit
        >>> from refmodel.train import draw_batches
        >>> model, steps = refmodel.load("tiny-dense"), []
        >>> batches = draw_batches(np.arange(97), batch=2, tokens=7, steps=3, seed=0)
        >>> state = fit(model.config, optax.sgd(0.1), model.params, batches, on_step=lambda step, _: steps.append(step))
        >>> steps
        [1, 2, 3]
    """
    whole("every", every, 1)
    state, waiting = train_state(optimizer, params), iter(batches)
    first = next(waiting, None)
    if first is None:
        raise ValueError("batches has none, a step takes one")
    with _kept(folder, lambda: _about(config, state, first, loss)) as kept:
        done, state = kept.last(state)
        step = 0
        for step, tokens_bt in enumerate(itertools.chain([first], waiting), 1):
            if step > done:
                state, value = train_step(config, optimizer, state, tokens_bt, loss=loss)
                on_step(step, value)
                if step % every == 0:
                    kept.keep(step, state)
        if step < done:
            raise ValueError(f"{folder} holds a state after {done:,} steps, and there are batches for {step:,}")
        if step > done and step % every:
            kept.keep(step, state)
    return state


def _about(config: ModelConfig, state: TrainState, first_bt: Ids, loss: Loss) -> dict[str, str]:
    """Digests of what must be the same for a run to go on."""

    def digest(*parts: Any) -> str:
        return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()

    def bytes_of(tree: Any) -> Iterator[str]:
        for path, leaf in jax.tree.leaves_with_path(tree):
            array = np.asarray(leaf)
            yield f"{path} {array.dtype} {array.shape} {hashlib.blake2b(array.tobytes()).hexdigest()}"

    return {
        "model": digest(config),
        "parameters": digest(*bytes_of(state.params)),
        "optimizer": digest(jax.tree.structure(state.optimizer_state)),
        "loss": f"{loss.__module__}.{loss.__qualname__}" if hasattr(loss, "__qualname__") else type(loss).__name__,
        "first batch": digest(*bytes_of(np.asarray(first_bt))),
    }


class _Nowhere:
    """What keeps nothing."""

    def last(self, state: TrainState) -> tuple[int, TrainState]:
        return 0, state

    def keep(self, step: int, state: TrainState) -> None: ...


class _Folder(_Nowhere):
    """States in a folder; only the last one stays."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def last(self, state: TrainState) -> tuple[int, TrainState]:
        import orbax.checkpoint as ocp

        step = self._manager.latest_step()
        if step is None:
            return 0, state
        return step, self._manager.restore(step, args=ocp.args.StandardRestore(state))

    def keep(self, step: int, state: TrainState) -> None:
        import orbax.checkpoint as ocp

        self._manager.save(step, args=ocp.args.StandardSave(state), force=True)


@contextlib.contextmanager
def _kept(folder: str | Path | None, about: Callable[[], dict[str, str]]) -> Iterator[_Nowhere]:
    if folder is None:
        yield _Nowhere()
        return
    import orbax.checkpoint as ocp  # takes a second to load

    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    told, now = place / ABOUT, about()
    if told.exists():
        there = json.loads(told.read_text(encoding="utf-8"))
        if different := [name for name in now if there.get(name) != now[name]]:
            raise ValueError(f"{folder} holds states of another training (other {', '.join(different)}): name another")
    elif any(place.iterdir()):
        raise ValueError(f"{folder} is not empty, and holds no training: name another")
    else:
        told.write_text(json.dumps(now), encoding="utf-8")
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with ocp.CheckpointManager(place / "states", options=options) as manager:
        yield _Folder(manager)
