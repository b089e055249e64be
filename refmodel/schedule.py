"""Schedules: which steps feed a prompt to the model, which executes them, and over which cost arithmetic sums."""

from __future__ import annotations

from dataclasses import dataclass

from attention.checks import whole


@dataclass(frozen=True)
class Step:
    """One call of the model: `tokens` tokens at positions start, start + 1, ... into a cache for `capacity` tokens.

    `wants_logits` is False for the chunks of a prompt before its last, which skip the head.  `prompt` is the tokens of
    the prompt that the step follows or is a chunk of; left out, all that came before this one.
    """

    tokens: int
    start: int = 0
    capacity: int = 0
    wants_logits: bool = True
    prompt: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.start < 0:
            raise ValueError(
                f"a step feeds at least 1 token from position 0 or later, got {self.tokens} tokens at {self.start}"
            )
        capacity = self.capacity or self.start + self.tokens
        if capacity < self.start + self.tokens:
            raise ValueError(f"a cache for {capacity} tokens is too small for {self.start} + {self.tokens}")
        if self.prompt < 0 or self.start < self.prompt < self.start + self.tokens:
            raise ValueError(
                f"a step follows its prompt or is a chunk of it, got a prompt of {self.prompt} tokens and "
                f"{self.tokens} at {self.start}"
            )
        if self.prompt > capacity:
            raise ValueError(f"a cache for {capacity} tokens is too small for a prompt of {self.prompt}")
        object.__setattr__(self, "capacity", capacity)
        object.__setattr__(self, "prompt", self.prompt or self.start or self.tokens)


Schedule = tuple[Step, ...]


def prefill_steps(tokens: int, chunk_tokens: int | None = None, capacity: int | None = None) -> Schedule:
    """A prompt of `tokens` from an empty cache, in one step or in chunks (the last one may be short)."""
    tokens = whole("tokens", tokens)
    chunk = tokens if chunk_tokens is None else whole("chunk_tokens", chunk_tokens)
    return tuple(
        Step(min(chunk, tokens - start), start, capacity or tokens, start + chunk >= tokens, tokens)
        for start in range(0, tokens, chunk)
    )


def decode_steps(context_tokens: int, new_tokens: int = 1) -> Schedule:
    """`new_tokens` single-token steps after a context of `context_tokens`."""
    if new_tokens < 1:
        raise ValueError(f"decode at least 1 new token, got {new_tokens}")
    capacity = context_tokens + new_tokens
    return tuple(Step(1, start, capacity, prompt=context_tokens) for start in range(context_tokens, capacity))
