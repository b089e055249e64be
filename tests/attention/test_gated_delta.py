"""`delta` as a mixer: what it refuses, what a padded row is, and what its state weighs."""

from __future__ import annotations

import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.cost import ONLY_LAYER, Heads
from attention.gated_delta import GatedDelta
from attention.layout import parse_variant
from attention.mixer import MixerInput, StepContext

pytestmark = pytest.mark.usefixtures("fast_compile")

DELTA = GatedDelta(key_heads=2, value_heads=6, key_dim=5, value_dim=7, conv=3)
HEADS = Heads(3, 1, 4, 11)


def inputs_of(batch, tokens, seed=0):
    rng = np.random.default_rng(seed)
    operands = (rng.normal(size=(batch, tokens, *shape)) for shape in DELTA.operands(HEADS))
    params = {name: rng.normal(size=shape) for name, shape in DELTA.params(HEADS).items()}
    as_floats = [jnp.asarray(x, jnp.float32) for x in operands]
    return MixerInput(*as_floats, {name: jnp.asarray(x, jnp.float32) for name, x in params.items()})


@jax.jit
def mix(inputs, positions_bt, state):
    attended, state = DELTA.mix(inputs, StepContext(positions_bt, 0, attend, ONLY_LAYER), state)
    return attended.out_btnh, state


class Products:
    """einsum in float64 that adds up its multiply-accumulates: one for every value of all its letters together."""

    def __init__(self) -> None:
        self.macs = 0

    def __call__(self, subscripts: str, *operands: np.ndarray) -> np.ndarray:
        letters, sizes = subscripts.split("->")[0].replace(",", ""), itertools.chain(*map(np.shape, operands))
        self.macs += math.prod(dict(zip(letters, sizes, strict=True)).values())
        return np.einsum(subscripts, *operands)


def definition(inputs, product=np.einsum):
    """A row in NumPy's float64, a token after the other."""
    ab, q, k, v = (np.asarray(x, np.float64)[0] for x in inputs[:4])
    conv, decay, bias = (np.asarray(inputs.params[name], np.float64) for name in ("conv", "decay", "dt_bias"))
    channels = np.concatenate([x.reshape(len(x), -1) for x in (q, k, v)], 1)
    before = np.zeros((DELTA.conv - 1, channels.shape[1]))
    joined, state = np.concatenate([before, channels]), np.zeros((6, 5, 7))
    out = np.zeros((len(v), 6, 7))
    for t in range(len(v)):
        summed = product("wc,wc->c", joined[t : t + DELTA.conv], conv)
        mixed = summed / (1 + np.exp(-summed))
        queries, keys = (x.reshape(2, 5) for x in (mixed[:10], mixed[10:20]))
        queries, keys = (x / np.sqrt((x**2).sum(1, keepdims=True) + 1e-6) for x in (queries, keys))
        for m in range(6):
            a, b, value = ab[t, m], ab[t, 6 + m], mixed[20 + 7 * m : 27 + 7 * m]
            state[m] *= np.exp(-abs(decay[m]) * np.log1p(np.exp(a + bias[m])))
            change = (value - product("hv,h->v", state[m], keys[m // 3])) / (1 + np.exp(-b))
            state[m] += product("h,v->hv", keys[m // 3], change)
            out[t, m] = product("hv,h->v", state[m], queries[m // 3]) / np.sqrt(5)
    return out.astype(np.float32)


@pytest.mark.parametrize("tokens", [1, 67])
def test_it_is_its_definition(tokens):
    inputs = inputs_of(1, tokens)
    out, _ = mix(inputs, jnp.arange(tokens)[None], DELTA.init_state(HEADS, 1, tokens, jnp.float32))
    np.testing.assert_allclose(out[0], definition(inputs), atol=2e-5)


@pytest.mark.parametrize("cuts", [(0, 37), (0, 1, 2, 9, 37), (0, 20, 21, 37)])
def test_padding_anywhere_and_any_cut_give_each_row_what_it_gets_alone(cuts):
    """Rows of 37 - 0, 37 - 5 and 37 - 36 tokens, the padding before, between and behind them."""
    inputs, rng = inputs_of(3, 37, seed=1), np.random.default_rng(2)
    real = [np.arange(37), np.sort(rng.permutation(37)[:32]), np.array([17])]
    positions = np.full((3, 37), -1, np.int32)
    for row, at in enumerate(real):
        positions[row, at] = np.arange(len(at))
    state, parts = DELTA.init_state(HEADS, 3, 37, jnp.float32, ragged=True), []
    for start, end in itertools.pairwise(cuts):
        part = MixerInput(*(x[:, start:end] for x in inputs[:4]), inputs.params)
        out, state = mix(part, positions[:, start:end], state)
        parts.append(out)
    together = np.concatenate(parts, 1)
    for row, at in enumerate(real):
        alone = MixerInput(*(x[row : row + 1, at] for x in inputs[:4]), inputs.params)
        empty = DELTA.init_state(HEADS, 1, 37, jnp.float32)
        out, after = mix(alone, jnp.arange(len(at))[None], empty)
        np.testing.assert_allclose(together[row, at], out[0], atol=2e-5)
        chex.assert_trees_all_close(
            (state.recurrent[row], state.tail[row]), (after.recurrent[0], after.tail[0]), atol=2e-5
        )


def test_a_state_has_constant_bytes():
    states = [DELTA.init_state(HEADS, 3, capacity, jnp.bfloat16) for capacity in (1, 10**6)]
    assert {DELTA.state_bytes(state) for state in states} == {3 * 4 * DELTA.state_values(HEADS)}
    assert DELTA.state_values(HEADS) == 6 * 5 * 7 + 2 * (2 * 2 * 5 + 6 * 7) and DELTA.cache_tokens(10**6) == 0


def test_its_cost_is_linear_and_no_pairs():
    cost = DELTA.useful(HEADS, 100)
    assert (cost.pairs, cost.flops(HEADS)) == (0, 100 * DELTA.limiting_flops(HEADS))
    assert GatedDelta().limiting_flops(HEADS) == 6 * 32 * 128 * 128 + 2 * 4 * 8192


def test_useful_flops_are_the_products_of_the_definition():
    """Of a prompt, of each chunk of it and of a decoded token."""
    product = Products()
    definition(inputs_of(1, 37), product)
    steps = ((0, 37),), ((0, 20), (20, 17)), tuple((t, 1) for t in range(37))
    for cut in steps:
        assert sum(DELTA.useful(HEADS, tokens, start).flops(HEADS) for start, tokens in cut) == 2 * product.macs


def test_its_defaults_are_those_of_the_hybrids():
    assert parse_variant("delta") == GatedDelta(16, 32, 128, 128, 4) and str(GatedDelta()) == "delta"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delta(3, 4)", "value_heads 4 is not a multiple of key_heads 3"),
        ("delta(conv=0)", "conv must be at least 1, got 0"),
        ("delta(16, 32, -1)", "key_dim must be at least 1, got -1"),
    ],
)
def test_what_it_cannot_be_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_variant(text)
