"""Schedules: which steps feed a prompt to the model, and which cache slots a step's queries attend to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attention.pattern import SpanPattern, cache_tokens


@dataclass(frozen=True)
class Step:
    """One call of the model: `tokens` tokens at positions start, start + 1, ... into a cache for `capacity` tokens.

    `wants_logits` is False for the chunks of a prompt before its last: they run the head, and nobody reads it.
    """

    tokens: int
    start: int = 0
    capacity: int = 0
    wants_logits: bool = True

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.start < 0:
            raise ValueError(
                f"a step feeds at least 1 token from position 0 or later, got {self.tokens} tokens at {self.start}"
            )
        capacity = self.capacity or self.start + self.tokens
        if capacity < self.start + self.tokens:
            raise ValueError(f"a cache for {capacity} tokens is too small for {self.start} + {self.tokens}")
        object.__setattr__(self, "capacity", capacity)


def prefill_steps(tokens: int, chunk_tokens: int | None = None) -> tuple[Step, ...]:
    """A prompt of `tokens` from an empty cache, in one step or in chunks (the last one may be short)."""
    if tokens < 1:
        raise ValueError(f"a prompt has at least 1 token, got {tokens}")
    chunk = tokens if chunk_tokens is None else chunk_tokens
    if chunk < 1:
        raise ValueError(f"a chunk has at least 1 token, got {chunk}")
    return tuple(
        Step(min(chunk, tokens - start), start, tokens, wants_logits=start + chunk >= tokens)
        for start in range(0, tokens, chunk)
    )


def decode_steps(context_tokens: int, new_tokens: int = 1) -> tuple[Step, ...]:
    """`new_tokens` single-token steps after a context of `context_tokens`."""
    if new_tokens < 1:
        raise ValueError(f"decode at least 1 new token, got {new_tokens}")
    capacity = context_tokens + new_tokens
    return tuple(Step(1, start, capacity) for start in range(context_tokens, capacity))


def step_positions(pattern: SpanPattern, step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a step's queries and of the slots that they attend to, -1 for an empty one.

    As `refmodel.cache.extend` lays them out when each step follows the one before: a layer that can hold the whole
    sequence attends to its cache; a bounded one to [what it kept, its own tokens].
    """
    end = step.start + step.tokens
    own = np.arange(step.start, end, dtype=np.int32)
    slots = cache_tokens(pattern, step.capacity)
    if slots < max(pattern.span) - 1 + max(pattern.sink):
        seen = np.full(slots, -1, np.int32)
        seen[:end] = np.arange(end)
        return own, seen
    kept = np.full(slots, -1, np.int32)
    before = np.arange(step.start, dtype=np.int32)
    needed = before[(before < max(pattern.sink)) | (before > step.start - max(pattern.span))]
    kept[: needed.size] = needed
    return own, np.concatenate([kept, own])
