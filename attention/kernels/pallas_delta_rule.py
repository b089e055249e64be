"""The gated delta rule over a prompt, in three Pallas-Triton kernels for CUDA and ROCm.

With S the state before a chunk of C tokens, G the sum of log decays since it began, D[i, j] = exp(G[i] - G[j]) for
j <= i, else 0 (the chunked form of `attention.kernels.delta_rule`):

    X = (I + (beta·K Kᵀ * D below the diagonal))⁻¹ beta         all chunks at once
    U = X (V - e^G·K S)      S <- e^G[C]·S + (e^(G[C] - G)·K)ᵀ U      chunk after chunk
    O = e^G·Q S + (Q Kᵀ * D) U                                    all chunks at once

What waits for itself is the second kernel, so that it does the least: it leaves S and U to the third.  It works on
their transposes, which are then the left operand of every product, and each program has some columns of one head's S.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.delta_rule_tiles import DeltaRuleTiles, delta_rule_tiles
from attention.kernels.pallas_inverse import dot, inverses, product
from attention.kernels.ref import Ref
from attention.kernels.target import current_target

INVERSE: Final = "delta_rule_inverse"
STATES: Final = "delta_rule_states"
OUT: Final = "delta_rule_out"
"""Of the three kernels in compiled programs."""
CHUNK: Final = 64
"""C: two halves that are inverted on their own."""
HALF: Final = CHUNK // 2
_LEAST_LOG_DECAY: Final = -90.0  # e^-90 is nothing in float32, and G stays precise enough to be subtracted


def gated_delta_rule_pallas(
    q_btnh: jax.Array, k_btnh: jax.Array, v_btmh: jax.Array, g_btm: jax.Array, beta_btm: jax.Array,
    state_bmhh: jax.Array, *, tiles: DeltaRuleTiles | None = None, interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """`attention.kernels.delta_rule.gated_delta_rule` with operands of products in the dtype of q, k and v.

    X is computed in float32, or in three products of halves of its numbers where q, k and v have 16 bits; S is kept in
    float32 and rounded where it is multiplied.  H and Hv are powers of two from 16 on; no derivative.  D comes from a
    difference of sums over the chunk, and is as precise as float32 holds the larger one: 2^-24·|G|, relatively.
    """
    (b, t, n, h), (m, hv) = k_btnh.shape, v_btmh.shape[2:]
    tiles = tiles or delta_rule_tiles(current_target(), k_btnh.dtype)
    static = _Static(t, m // n, min(tiles.values, hv), min(tiles.out_values, hv), min(tiles.depth, h))
    chunks = pl.cdiv(t, CHUNK)

    def by_chunk(x_btm: jax.Array) -> jax.Array:  # [B, M, chunks, C]
        padded = jnp.pad(x_btm.astype(jnp.float32), [(0, 0), (0, chunks * CHUNK - t), (0, 0)])
        return padded.reshape(b, chunks, CHUNK, m).transpose(0, 3, 1, 2)

    decay_bmic = jnp.cumsum(by_chunk(jnp.maximum(g_btm, _LEAST_LOG_DECAY)), axis=-1)
    beta_bmic = by_chunk(beta_btm)
    dtype = k_btnh.dtype
    flops = kernel_flops(t, n, m, h, hv, exact=dtype.itemsize == 4)
    of_chunk = b, m, chunks

    def call(
        kernel: Callable[..., None], name: str, grid: tuple[int, ...], out_shape: Any, warps: int, stages: int,
        *operands: jax.Array,
    ) -> Any:  # fmt: skip
        moved = sum(x.size * x.dtype.itemsize for x in (*operands, *jax.tree.leaves(out_shape)))
        return pl.pallas_call(
            partial(kernel, static=static),
            grid=(*grid, b),
            out_shape=out_shape,
            compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=stages),
            interpret=interpret,
            name=name,
            cost_estimate=pl.CostEstimate(flops=b * flops[name], transcendentals=0, bytes_accessed=moved),
        )(*operands)

    x_bmicc = call(
        _invert, INVERSE, (chunks, m), jax.ShapeDtypeStruct((*of_chunk, CHUNK, CHUNK), dtype), tiles.inverse_warps, 1,
        k_btnh, decay_bmic, beta_bmic,
    )  # fmt: skip
    states_bmivh, u_bmivc, state_bmhh = call(
        _carry, STATES, (hv // static.values, m),
        [
            jax.ShapeDtypeStruct((*of_chunk, hv, h), dtype),
            jax.ShapeDtypeStruct((*of_chunk, hv, CHUNK), dtype),
            jax.ShapeDtypeStruct(state_bmhh.shape, jnp.float32),
        ],
        tiles.warps, tiles.stages, k_btnh, v_btmh, x_bmicc, decay_bmic, state_bmhh.astype(jnp.float32),
    )  # fmt: skip
    out_btmh = call(
        _put_out, OUT, (chunks, n * (hv // static.out_values)), jax.ShapeDtypeStruct(v_btmh.shape, v_btmh.dtype), 4, 1,
        q_btnh, k_btnh, states_bmivh, u_bmivc, decay_bmic,
    )  # fmt: skip
    return out_btmh, state_bmhh


def kernel_flops(
    tokens: int, key_heads: int, value_heads: int, key_dim: int, value_dim: int, *, exact: bool = False
) -> dict[str, int]:
    """FLOPs of the products that each kernel runs for one row of T tokens; `exact` for float32 operands."""
    chunks = pl.cdiv(tokens, CHUNK)
    joined = (
        2 * 2 * (HALF.bit_length() - 2) + 2
    )  # products of [C/2, C/2]: two halves of 2, 4, ... rows, and their corner
    inverse = 3 * 2 * HALF**2 * key_dim + joined * (1 if exact else 3) * 2 * HALF**3
    state, inside = 2 * CHUNK * key_dim * value_dim, 2 * CHUNK**2 * value_dim
    return {
        INVERSE: chunks * value_heads * inverse,
        STATES: chunks * value_heads * (2 * state + inside),
        OUT: chunks * (key_heads * 2 * CHUNK**2 * key_dim + value_heads * (state + inside)),
    }


class _Static(NamedTuple):
    """Tokens, value heads of a key head, columns in a program of the state and of the output, and keys' numbers in one
    step of a contraction."""

    tokens: int
    group: int
    values: int
    out_values: int
    depth: int

    def mask(self, start: jax.Array, rows: int, columns: int) -> jax.Array | None:
        """Which rows of a tile from `start` on are tokens; None where all of any tile are."""
        if self.tokens % CHUNK == 0:
            return None
        return jnp.broadcast_to((start + jnp.arange(rows) < self.tokens)[:, None], (rows, columns))

    def rows(self, ref: Ref, b: jax.Array, start: jax.Array, count: int, head: jax.Array, columns: Any) -> jax.Array:
        """Tokens of a head, [count, columns]; 0 beyond the prompt."""
        at = ref.at[b, pl.ds(start, count), head, columns]
        mask = self.mask(start, count, at.shape[-1])
        return plgpu.load(at, mask=mask, other=None if mask is None else 0.0)


def _invert(k_ref: Ref, decay_ref: Ref, beta_ref: Ref, x_ref: Ref, *, static: _Static) -> None:
    """X of a chunk: [[X1, 0], [-X2 L X1, X2]] of two halves and what is left below them."""
    chunk, head, b = (pl.program_id(axis) for axis in range(3))
    halves = pl.ds(0, HALF), pl.ds(HALF, HALF)
    starts = chunk * CHUNK, chunk * CHUNK + HALF

    def add(i: jax.Array, kk: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        part = pl.ds(i * static.depth, static.depth)
        k1, k2 = (static.rows(k_ref, b, start, HALF, head // static.group, part) for start in starts)
        return tuple(x + dot(*pair, (1, 1)) for x, pair in zip(kk, ((k1, k1), (k2, k1), (k2, k2)), strict=True))

    kk11, kk21, kk22 = lax.fori_loop(0, k_ref.shape[-1] // static.depth, add, (jnp.zeros((HALF, HALF)),) * 3)
    decay1, decay2 = (decay_ref[b, head, chunk, half] for half in halves)
    beta1, beta2 = (beta_ref[b, head, chunk, half] for half in halves)

    below = beta1[:, None] * kk11 * _decays(decay1), beta2[:, None] * kk22 * _decays(decay2)
    exact = k_ref.dtype == jnp.float32
    x1, x2 = inverses(below, exact)
    corner = beta2[:, None] * kk21 * jnp.exp(decay2[:, None] - decay1[None])
    x21 = -product(product(x2, corner, exact), x1, exact)
    parts = ((x1 * beta1[None], jnp.zeros((HALF, HALF))), (x21 * beta1[None], x2 * beta2[None]))
    for rows, line in zip(halves, parts, strict=True):
        for columns, part in zip(halves, line, strict=True):
            x_ref[b, head, chunk, rows, columns] = part.astype(x_ref.dtype)


def _carry(
    k_ref: Ref, v_ref: Ref, x_ref: Ref, decay_ref: Ref, state_ref: Ref, states_ref: Ref, u_ref: Ref, last_ref: Ref, *,
    static: _Static,
) -> None:  # fmt: skip
    """Some columns of a head's state through all chunks; everything is transposed, [values, H] and [values, C]."""
    share, head, b = (pl.program_id(axis) for axis in range(3))
    columns = pl.ds(share * static.values, static.values)
    dtype = k_ref.dtype

    parts = [pl.ds(start, static.depth) for start in range(0, k_ref.shape[-1], static.depth)]

    def one_chunk(chunk: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        decay, last = decay_ref[b, head, chunk, :], decay_ref[b, head, chunk, CHUNK - 1]

        def keys(part: Any) -> jax.Array:
            return static.rows(k_ref, b, chunk * CHUNK, CHUNK, head // static.group, part)

        seen = jnp.zeros((static.values, CHUNK))
        for part, s in zip(parts, state, strict=True):
            rounded = s.astype(dtype)
            states_ref[b, head, chunk, columns, part] = rounded
            k = keys(part)
            seen += dot(rounded, k, (1, 1))
        v = static.rows(v_ref, b, chunk * CHUNK, CHUNK, head, columns)
        wanted = v.T.astype(jnp.float32) - jnp.exp(decay)[None] * seen
        u = dot(wanted.astype(dtype), x_ref[b, head, chunk], (1, 1))
        u_ref[b, head, chunk, columns, :] = u.astype(dtype)
        added = (jnp.exp(last - decay)[None] * u).astype(dtype)
        again = [k] if len(parts) == 1 else map(keys, parts)  # several would have to be held in registers meanwhile
        return tuple(jnp.exp(last) * s + dot(added, k, (1, 0)) for s, k in zip(state, again, strict=True))

    before = tuple(state_ref[b, head, part, columns].T for part in parts)
    for part, s in zip(parts, lax.fori_loop(0, x_ref.shape[2], one_chunk, before), strict=True):
        last_ref[b, head, part, columns] = s.T


def _put_out(
    q_ref: Ref, k_ref: Ref, states_ref: Ref, u_ref: Ref, decay_ref: Ref, out_ref: Ref, *, static: _Static
) -> None:
    """What the queries of a chunk read, some columns for each value head of one key head."""
    chunk, program, b = (pl.program_id(axis) for axis in range(3))
    n_parts = out_ref.shape[-1] // static.out_values
    key_head, columns = program // n_parts, pl.ds(program % n_parts * static.out_values, static.out_values)
    start = chunk * CHUNK
    q, k = (static.rows(ref, b, start, CHUNK, key_head, slice(None)) for ref in (q_ref, k_ref))
    qk = dot(q, k, (1, 1))

    def one_head(i: jax.Array, carry: None) -> None:
        head = key_head * static.group + i
        decay = decay_ref[b, head, chunk, :]
        inside = dot((qk * _decays(decay)).astype(q.dtype), u_ref[b, head, chunk, columns, :], (1, 1))
        out = jnp.exp(decay)[:, None] * dot(q, states_ref[b, head, chunk, columns, :], (1, 1)) + inside
        place = out_ref.at[b, pl.ds(start, CHUNK), head, columns]
        plgpu.store(place, out.astype(out_ref.dtype), mask=static.mask(start, *out.shape))

    lax.fori_loop(0, static.group, one_head, None)


def _decays(decay: jax.Array) -> jax.Array:
    """D of the sums G; 0 above the diagonal, where the power would be positive."""
    token = jnp.arange(decay.size)
    return jnp.exp(jnp.where(token[:, None] >= token[None], decay[:, None] - decay[None], -jnp.inf))
