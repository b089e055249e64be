"""Many training steps; a run that was stopped goes on from its last kept state, bit for bit, and orbax keeps it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import jax
import numpy as np
import optax

from attention.checks import of_kind, whole
from refmodel.digest import params_digest
from refmodel.model import Params
from refmodel.specification import ModelConfig, check_config
from refmodel.token_ids import Ids
from refmodel.train import Loss, TrainState, next_token_loss, train_state, train_step

__all__ = ["fit"]

ABOUT: Final = "training.json"
NEW_ABOUT: Final = "training.new"
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
    about: Mapping[str, Any] = MappingProxyType({}),
    on_step: Callable[[int, jax.Array], None] = lambda step, loss: None,
) -> TrainState:
    """A step of `refmodel.train.train_step` for each batch, from `params`, and the state after the last.

    Args:
        batches: tokens [B, T] for each step, the same each time that they are gone through: a generator with a seed.
        folder: keeps the state after every `every` steps and the last; a call that finds one goes on behind it.
        about: what else has to be the same for a run to go on, by name: rates, the seed of the batches.
        on_step: is told of each step that is taken, its number, from 1 on, and its loss (not waited for).

    Raises:
        ValueError: where `folder` holds the states of another training: of another model, other parameters to begin
            with or another first batch, a loss that is another there in its first three digits, an optimizer of another
            kind or whose first update has another length or direction in theirs, or another `about`.  Numbers that
            change less or only later, and batches behind the first, are not looked at: name them in `about`.

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
    check_config(config)
    whole("every", every, 1)
    state, waiting = train_state(optimizer, params), iter(batches)
    of_kind("about: a mapping of names to what is the same,", about, Mapping)
    first = next(waiting, None)
    if first is None:
        raise ValueError("batches has none, a step takes one")
    with contextlib.ExitStack() as stack:
        kept = None
        if folder is not None:
            kept = stack.enter_context(_Kept(folder, _identity(config, optimizer, state, first, loss) | _told(about)))
        done, state = (0, state) if kept is None else kept.last(state)
        step = 0
        for step, tokens_bt in enumerate(itertools.chain([first], waiting), 1):
            if step > done:
                state, value = train_step(config, optimizer, state, tokens_bt, loss=loss)
                on_step(step, value)
                if kept and step % every == 0:
                    kept.keep(step, state)
        if step < done:
            raise ValueError(f"{folder} holds a state after {done:,} steps, and there are batches for {step:,}")
        if kept and step > done and step % every:
            kept.keep(step, state)
    return state


def _told(about: Mapping[str, Any]) -> dict[str, str]:
    return {f"{name} in about": str(value) for name, value in about.items()}


def _identity(
    config: ModelConfig, optimizer: optax.GradientTransformation, state: TrainState, first_bt: Ids, loss: Loss
) -> dict[str, str]:
    """What must be the same for a run to go on.

    Functions have no digest: what they give does, to three digits, so that another machine gives the same.
    """

    def first_update(state: TrainState) -> tuple[jax.Array, jax.Array]:
        gradients = state.params  # any that are not all alike
        update = optimizer.update(gradients, state.optimizer_state, state.params)[0]
        return optax.tree.norm(update), optax.tree.vdot(update, gradients)

    value = jax.jit(partial(loss, config))(state.params, np.asarray(first_bt))
    norm, along = jax.jit(first_update)(state)
    kinds = hashlib.blake2b(str(jax.tree.structure(state.optimizer_state)).encode(), digest_size=16).hexdigest()
    return {
        "model": hashlib.blake2b(str(config).encode(), digest_size=16).hexdigest(),
        "parameters": params_digest(state.params),
        "optimizer": f"{kinds} {norm:.3g} {along:.3g}",
        "loss": f"{value:.3g}",
        "first batch": params_digest({"tokens_bt": np.asarray(first_bt)}),
    }


class _Kept:
    """States in a folder, which is made with the first of them; only the last one stays."""

    def __init__(self, folder: str | Path, about: Mapping[str, str]) -> None:
        self._place, self._about, self._manager = Path(folder).absolute(), about, None
        told = self._place / ABOUT
        if self._place.exists() and not self._place.is_dir():
            raise ValueError(f"{folder} is no folder: name another")
        if not told.exists():
            if self._place.exists() and any(path.name != NEW_ABOUT for path in self._place.iterdir()):
                raise ValueError(f"{folder} is not empty, and holds no training: name another")
            return
        try:
            there = dict(json.loads(told.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{told} cannot be read: name another folder") from error
        if different := [name for name in {**there, **about} if there.get(name) != about.get(name)]:
            raise ValueError(f"{folder} holds states of another training (other {', '.join(different)}): name another")

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *_: object) -> None:
        if self._manager:
            self._manager.close()

    def last(self, state: TrainState) -> tuple[int, TrainState]:
        """The last state, in the place of `state`, and how many steps it has behind it."""
        if not (self._place / ABOUT).exists():
            return 0, state
        import orbax.checkpoint as ocp

        step = self._states().latest_step()
        return (
            (0, state) if step is None else (step, self._states().restore(step, args=ocp.args.StandardRestore(state)))
        )

    def keep(self, step: int, state: TrainState) -> None:
        """Keeps the state after so many steps."""
        import orbax.checkpoint as ocp

        told = self._place / ABOUT
        if not told.exists():
            self._place.mkdir(parents=True, exist_ok=True)
            new = told.with_name(NEW_ABOUT)  # which a stop may leave behind
            new.write_text(json.dumps(dict(self._about)), encoding="utf-8")
            new.replace(told)
        self._states().save(step, args=ocp.args.StandardSave(state), force=True)

    def _states(self) -> Any:
        import orbax.checkpoint as ocp  # takes a second to load

        if self._manager is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
            self._manager = ocp.CheckpointManager(self._place / "states", options=options)
        return self._manager
