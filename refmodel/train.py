"""A training step: the mean loss of the next token, its gradient, and one update by an optimizer of optax.

    loss = mean over the tokens t that have a next one of  -log softmax(logits_t)[token_t+1]        nats

Every layout has a reverse mode, in memory linear in the prompt; `docs/training.md` says what has no derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float32, Int

from attention.attend import attend
from attention.attended import AttendFn
from attention.checks import MOST_SEED, described, of_kind, whole
from refmodel.model import prefill
from refmodel.packed.packed import Packed
from refmodel.specification import ModelConfig, check_config
from refmodel.token_ids import Ids, as_ids, check_token_ids
from refmodel.tree import Params, check_params

__all__ = ["TrainState", "draw_batches", "next_token_loss", "only_leaves", "train_state", "train_step"]

Loss = Callable[[ModelConfig, Params, jax.Array], jax.Array]
"""(config, params, tokens [B, T]) -> a scalar: `next_token_loss`, or one of your own, made once, not for each step."""


class TrainState(NamedTuple):
    """What a step takes over and gives back: parameters, and what the optimizer remembers of them."""

    params: Params
    optimizer_state: optax.OptState


def next_token_loss(
    config: ModelConfig, params: Params, tokens_bt: Ids, *, attend: AttendFn = attend
) -> Float32[Array, ""]:
    """Mean cross entropy of the next token in nats, over all tokens that have one.

    Args:
        tokens_bt: ids, [B, T]; -1 behind the end of a row is padding, which no other token sees and none has to
            predict.  Spans and budgets that are a part of the length are those of T, padding included.
        attend: as in `refmodel.model.prefill`.

    Raises `ValueError` for fewer than 2 tokens a row and, outside of jit, for ids that the vocabulary does not have and
    for padding before a token.  Where all but the first tokens are padding the loss is NaN.

    Examples:
        >>> import jax, jax.numpy as jnp, refmodel
        >>> from refmodel.train import next_token_loss
        >>> model, tokens_bt = refmodel.load("tiny-dense"), jnp.array([[2, 7, 1, 8], [3, 1, -1, -1]])
        >>> loss = jax.jit(next_token_loss, static_argnums=0)(model.config, model.params, tokens_bt)
        >>> bool(abs(loss - jnp.log(257)) < 1)  # near chance: the weights are random
        True
    """
    tokens_bt = _batch_of(config, tokens_bt)
    logits_btv, _ = prefill(config, params, jnp.maximum(tokens_bt, 0), logits="all", attend=attend)
    next_bt = tokens_bt[:, 1:]
    counts_bt = next_bt >= 0
    nats_bt = optax.losses.softmax_cross_entropy_with_integer_labels(logits_btv[:, :-1], jnp.maximum(next_bt, 0))
    return jnp.where(counts_bt, nats_bt, 0).sum() / counts_bt.sum()


def _batch_of(config: ModelConfig, tokens: Ids) -> Int[Array, "b t"]:
    """Raises `ValueError` for what no loss can be of; what is being traced has no numbers to look at."""
    check_config(config)
    ids = as_ids(tokens)
    if ids.ndim != 2 or ids.shape[1] < 2:
        raise ValueError(f"a loss takes tokens [B, T] with at least 2 a row, got {described(ids)}")
    if not isinstance(ids, jax.core.Tracer):
        found_bt = np.asarray(ids)
        check_token_ids(np.where(found_bt == -1, 0, found_bt), config.vocab_size)
        if ((found_bt[:, :-1] < 0) & (found_bt[:, 1:] >= 0)).any():
            raise ValueError("padding (-1) stands before a token; accepted: behind the end of a row")
    return jnp.asarray(ids)


def only_leaves(optimizer: optax.GradientTransformation, params: Params, pattern: str) -> optax.GradientTransformation:
    """The optimizer for leaves whose dotted path matches the shell pattern; all others stay as they are.

    It remembers nothing of those that stay.  Raises `ValueError` where no leaf matches.

    Examples:
        >>> import optax, refmodel
        >>> from refmodel.train import only_leaves
        >>> params = refmodel.load("tiny-dense", layout="routed(8|full)").params
        >>> routers = only_leaves(optax.sgd(0.1), params, "*.span_router_*")
        >>> only_leaves(optax.sgd(0.1), params, "*.router")
        Traceback (most recent call last):
            ...
        ValueError: no leaf matches '*.router'; there are: blocks.dense.attn.k, blocks.dense.attn.k_norm.scale, ...
    """
    of_kind("pattern: a text", pattern, str)
    check_params(params)
    paths = jax.tree.map_with_path(lambda path, _: jax.tree_util.keystr(path, simple=True, separator="."), params)
    labels = jax.tree.map(lambda path: "trains" if fnmatchcase(path, pattern) else "stays", paths)
    if "trains" not in jax.tree.leaves(labels):
        raise ValueError(f"no leaf matches {pattern!r}; there are: {', '.join(sorted(jax.tree.leaves(paths)))}")
    return optax.multi_transform({"trains": optimizer, "stays": optax.set_to_zero()}, labels)


def train_state(optimizer: optax.GradientTransformation, params: Params) -> TrainState:
    """The state before the first step, on a copy of `params`: a step takes the arrays of its state for its own.

    Raises `ValueError` for packed weights, whose integers have no gradient.

    Examples:
        >>> import optax, refmodel
        >>> from refmodel.train import train_state
        >>> model = refmodel.load("tiny-dense")
        >>> state = train_state(optax.sgd(0.1, momentum=0.9), model.params)
        >>> state.params["final_norm"]["scale"] is model.params["final_norm"]["scale"]
        False
    """
    of_kind("optimizer: one of optax's", optimizer, optax.GradientTransformation)
    check_params(params)
    for path, leaf in jax.tree.leaves_with_path(params, is_leaf=lambda leaf: isinstance(leaf, Packed)):
        if isinstance(leaf, Packed) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            name, kind = jax.tree_util.keystr(path, simple=True, separator="."), leaf.dtype
            kind = leaf.coding.name if isinstance(leaf, Packed) else kind
            raise ValueError(f"training takes floating-point weights, got {kind} in {name}: load them unpacked")
    params = jax.tree.map(jnp.copy, params)
    return TrainState(params, optimizer.init(params))


def train_step(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    tokens_bt: Ids,
    *,
    loss: Loss = next_token_loss,
) -> tuple[TrainState, Float32[Array, ""]]:
    """One update: the state after it, and the loss before it.  Nothing is drawn: the same arguments, the same result.

    Compiled once for a config, an optimizer, a loss and a shape; `state` is gone afterwards, its memory is reused.
    Raises `ValueError` for what is no state of `train_state`, and for tokens as `next_token_loss` does.

    Examples:
        >>> import jax.numpy as jnp, optax, refmodel
        >>> from refmodel.train import train_state, train_step
        >>> model = refmodel.load("tiny-dense", layout="swa(8)+full")
        >>> optimizer = optax.adamw(1e-2)
        >>> state, losses = train_state(optimizer, model.params), []
        >>> for _ in range(4):
        ...     state, loss = train_step(model.config, optimizer, state, jnp.array([[2, 7, 1, 8, 2, 8]]))
        ...     losses.append(float(loss))
        >>> losses == sorted(losses, reverse=True)
        True
    """
    of_kind("state: what train_state or a step gave", state, TrainState)
    return _train_step(config, optimizer, state, _batch_of(config, tokens_bt), loss)


@partial(jax.jit, static_argnames=("config", "optimizer", "loss"), donate_argnames=("state",))
def _train_step(
    config: ModelConfig, optimizer: optax.GradientTransformation, state: TrainState, tokens_bt: jax.Array, loss: Loss
) -> tuple[TrainState, jax.Array]:
    value, gradients = jax.value_and_grad(partial(loss, config))(state.params, tokens_bt)
    updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
    return TrainState(optax.apply_updates(state.params, updates), optimizer_state), value


def draw_batches(ids_s: Ids, *, batch: int, tokens: int, steps: int, seed: int) -> Iterator[Int[np.ndarray, "b t"]]:
    """Pieces of one long text, [B, T] for each of so many steps, from places that `seed` draws.

    Raises `ValueError` for a text that is shorter than a piece, for pieces of one token and for what are no ids [S].

    Examples:
        >>> import numpy as np
        >>> from refmodel.train import draw_batches
        >>> [piece_bt.tolist() for piece_bt in draw_batches(np.arange(9), batch=1, tokens=4, steps=2, seed=0)]
        [[[5, 6, 7, 8]], [[3, 4, 5, 6]]]
    """
    for name, value, least in (("batch", batch, 1), ("tokens", tokens, 2), ("steps", steps, 1)):
        whole(name, value, least)
    whole("seed", seed, 0, MOST_SEED)
    text_s = np.asarray(as_ids(ids_s))
    if text_s.ndim != 1 or len(text_s) < tokens:
        raise ValueError(f"pieces of {tokens} tokens do not fit a text of {described(text_s)}")
    starts_kb1 = np.random.default_rng(seed).integers(len(text_s) - tokens + 1, size=(steps, batch, 1))
    return (text_s[start_b1 + np.arange(tokens)] for start_b1 in starts_kb1)
