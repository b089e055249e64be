"""Two values have one description iff they are equal, also in another process."""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.sliding_window import SlidingWindow
from eval.measure.records.described import described


class Plain:
    def __init__(self, x):
        self.x = x

    def __call__(self):
        return self.x

    def method(self):
        return self.x

    @functools.cached_property
    def twice(self):
        return 2 * self.x

    def __repr__(self):
        return "Plain"


class Slotted:
    __slots__ = ("x",)


class Colour(enum.Enum):
    RED, BLUE = 1, 2


def adding(x):
    return lambda y: x + y


def other(x, by=1):
    return x * by


DIFFERENT = [
    functools.partial(max, 1), functools.partial(min, 1), functools.partial(max, 2), functools.partial(max, key=1), max,
    lambda: 1, lambda: 2, lambda x=1: x, lambda x=2: x, lambda *, x=2: x, adding(1), adding(2), other, adding,
    Plain(1), Plain(2), Plain(1).method, Plain(2).method, Plain, Colour.RED, Colour.BLUE, jax.nn.silu, jax.nn.gelu,
    jax.jit(adding(1)), jax.jit(adding(2)), np.add, jnp.float32, jnp.bfloat16, math := __import__("math"), len,
    SlidingWindow(5), SlidingWindow(7), 1, 1.5, "1", None, True, (1, 2), {"a": 1}, {"a": 2}, set("abcde"), np.arange(3),
    np.arange(3.0), np.arange(3).reshape(3, 1), jnp.arange(4),
]  # fmt: skip


def test_what_differs_is_told_apart():
    for (i, one), (j, two) in itertools.combinations(enumerate(map(described, DIFFERENT)), 2):
        assert one != two, (i, j, one)
    assert not any(" at 0x" in described(one) for one in DIFFERENT)


def test_what_is_equal_is_described_alike():
    for make in (lambda: adding(1), lambda: Plain([1]), lambda: functools.partial(other, by=Plain(1)), lambda: {2, 1}):
        assert described(make()) == described(make())
    used = Plain(1)
    assert used.twice == 2 and described(used) == described(Plain(1)) == f"{__name__}.Plain(x=1)"
    assert described((1, 2)) == described([1, 2]) and described({"a": 1, "b": 2}) == described({"b": 2, "a": 1})


def test_another_process_describes_alike():
    told = "from tests.eval.measure.records import test_described as t; print([t.described(x) for x in t.DIFFERENT])"
    for seed in ("1", "2"):  # of strings' hashes, and so of the order in sets
        own = os.environ | {"PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=own)
        assert run.stdout.strip() == repr([described(one) for one in DIFFERENT])


def test_what_hides_or_holds_itself_is_refused():
    with pytest.raises(ValueError, match="a Slotted does not show what is in it, as a dataclass does"):
        described((Slotted(),))
    itself = Plain(1)
    itself.x = itself
    with pytest.raises(ValueError, match="a Plain that holds itself cannot be told from another"):
        described(itself)
    assert dataclasses.is_dataclass(SlidingWindow)
