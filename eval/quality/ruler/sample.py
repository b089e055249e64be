"""What a task of retrieval is: a way to draw a prompt of any length, and the texts that must come back of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
"""What is said over and over where nothing is to be found."""


@dataclass(frozen=True)
class Sample:
    """A prompt, and what must come back of it.

    Attributes:
        prompt: ends where the model goes on.
        answers: texts, each of which counts alike.
        depths: of each answer, how much of the haystack stands before it, from 0 to 1; none where answers stand all
            over the text.
    """

    prompt: str
    answers: tuple[str, ...]
    depths: tuple[float, ...] = ()


@dataclass(frozen=True)
class Draw:
    """What a prompt is drawn by.

    Attributes:
        random: a fresh generator, so that prompts of several sizes ask for the same.
        units: how much haystack, in what the task counts it by: lines of noise, words.
        depth: how much of the haystack stands before what is asked for first, from 0 to 1.
        tokens: that the prompt is made for; two tasks have other numbers for short ones.
    """

    random: Random
    units: int
    depth: float
    tokens: int


@dataclass(frozen=True)
class Task:
    """A task of retrieval.

    Attributes:
        name: RULER's, where it has one.
        about: what is asked, in a line.
        build: the prompt of a draw; more units make a longer one.
        new_tokens: that are left to answer, a part of the length.
        least_units: without which there is no such prompt.
        most_units: where there are no more to be had.
    """

    name: str
    about: str
    build: Callable[[Draw], Sample]
    new_tokens: int
    least_units: int
    most_units: int | None = None
