"""Counts and dtypes as people write them, wherever they are taken."""

from __future__ import annotations

import argparse

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attention
from attention.checks import float_dtype, token_count
from attention.shorthand import count_written
from eval.commands.arguments import positive


@given(st.integers(0, 10**9), st.sampled_from(["", "k", "K", "m", "M"]), st.sampled_from(["", "_"]))
def test_a_count_is_its_digits_times_its_unit(number, unit, between):
    digits = f"{number:,}".replace(",", between)
    assert count_written(f"{digits}{unit}") == number * {"": 1, "k": 1024, "m": 1024 * 1024}[unit.lower()]
    assert count_written(f"{number:,}") == number


NO_COUNTS = ["", "k", "-1", "8kk", "8 k", "1.5k", "8g", "_1", "0x10", "१"]
BAD_GROUPS = ["1,5k", "1,5", "1,024k", "0,500", "1,0000", "1_0,000", "8__0", "8_", "8,,", "8,"]


@pytest.mark.parametrize("text", NO_COUNTS + BAD_GROUPS)
def test_other_texts_are_refused_where_they_are_taken(text):
    with pytest.raises(ValueError, match="tokens must be a whole number of at least 1, got "):
        token_count("tokens", text)
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number of at least 1 is wanted, got "):
        positive(text)


def test_lengths_of_commands_and_layouts_have_units():
    assert positive("8k") == 8192 and positive("1m") == 2**20
    with pytest.raises(argparse.ArgumentTypeError, match="at most 2,147,483,646"):
        positive("2048m")
    assert attention.make("evict(snapkv, budget=4k, chunk=1k)") == attention.make("evict(snapkv, chunk=1024)")
    assert str(attention.parse_layout("5*swa(1k, sinks=4)+full", 6)[0]) == "swa(1024, sinks=4)"
    with pytest.raises(ValueError, match="window must be a whole number, got '1kk'"):
        attention.make("swa(1kk)")


def test_dtypes_have_short_names():
    for short, dtype in (("bf16", jnp.bfloat16), ("f32", np.float32), ("f16", np.float16)):
        assert float_dtype(short) == float_dtype(dtype) == jnp.dtype(dtype)
