"""The gated delta rule in plain JAX: token by token, or chunk by chunk with the products that matrix units take.

With g the logarithm of a head's decay and beta its rate of learning (Yang et al., 2412.06464), per value head

    S_t = e^g_t S_{t-1} + k_t (x) u_t       u_t = beta_t (v_t - e^g_t S_{t-1}ᵀ k_t)       o_t = S_tᵀ q_t

In a chunk of C tokens that begins with S, D_ij = exp(g_{j+1} + ... + g_i) for i >= j, else 0, and d_i = D_i0 e^g_0:

    (I + A) U = beta (V - d K S)     A = beta (K Kᵀ ∘ D) below the diagonal
    O = d Q S + (Q Kᵀ ∘ D) U         S <- d_C S + (K ∘ D_C)ᵀ U

Letters: M value heads, of which G = M / N share a key head; I and J tokens of one chunk; V the size of a value head.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32

CHUNK_TOKENS: Final = 64
MOST_RECURRENT: Final = 4
"""Tokens of a step that go one by one: a chunk would compute more than it saves."""

_LEAST_LOG_DECAY: Final = -90.0  # e^-90 is nothing in float32, and sums of a chunk stay finite
_dot = partial(jnp.einsum, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def gated_delta_rule(
    q_btnh: Float[Array, "b t n h"],
    k_btnh: Float[Array, "b t n h"],
    v_btmh: Float[Array, "b t m v"],
    g_btm: Float32[Array, "b t m"],
    beta_btm: Float32[Array, "b t m"],
    state_bmhh: Float32[Array, "b m h v"],
    *,
    chunk_tokens: int = CHUNK_TOKENS,
) -> tuple[Float[Array, "b t m v"], Float32[Array, "b m h v"]]:
    """What T tokens read, [B, T, M, Hv] in the dtype of `v_btmh`, and the state after them.

    Args:
        q_btnh, k_btnh: queries and keys of unit norm, [B, T, N, H], queries scaled; value head m has key head
            m // (M / N).
        v_btmh: [B, T, M, Hv].
        g_btm, beta_btm: logarithms of decays, at most 0, and rates; both are 0 for padding, which changes nothing.
        state_bmhh: the state before them, [B, M, H, Hv].
        chunk_tokens: C, a power of two; up to `MOST_RECURRENT` tokens go one by one.

    All is computed in float32.  Raises `ValueError` for heads that do not divide and for a chunk of another length.
    """
    key_heads, value_heads, tokens = k_btnh.shape[2], v_btmh.shape[2], v_btmh.shape[1]
    if value_heads % key_heads:
        raise ValueError(f"{value_heads} value heads are no multiple of {key_heads} key heads")
    if chunk_tokens < 2 or chunk_tokens & (chunk_tokens - 1):
        raise ValueError(f"chunk_tokens must be a power of two from 2 on, got {chunk_tokens}")
    grouped = (value_heads // key_heads, key_heads)
    v, g, beta = (_by_key_head(x.astype(jnp.float32), *grouped) for x in (v_btmh, g_btm, beta_btm))
    operands = q_btnh.astype(jnp.float32), k_btnh.astype(jnp.float32), v, jnp.maximum(g, _LEAST_LOG_DECAY), beta
    state = state_bmhh.reshape(state_bmhh.shape[0], key_heads, -1, *state_bmhh.shape[2:])
    chunk = chunk_of(tokens, chunk_tokens)
    out, state = _recurrent(*operands, state) if chunk == 1 else _chunked(*operands, state, chunk)
    return out.reshape(v_btmh.shape).astype(v_btmh.dtype), state.reshape(state_bmhh.shape)


def chunk_of(tokens: int, chunk_tokens: int = CHUNK_TOKENS) -> int:
    """C for a step of so many tokens: 1 where they go one by one, less than `chunk_tokens` where fewer hold them."""
    return 1 if tokens <= MOST_RECURRENT else min(chunk_tokens, 1 << (tokens - 1).bit_length())


def executed_flops(tokens: int, key_heads: int, value_heads: int, key_dim: int, value_dim: int) -> int:
    """FLOPs of the products that `gated_delta_rule` runs for one row of T tokens.

    One by one a state is read twice; k (x) u is an outer product, which sums nothing.  A chunk has KKᵀ and QKᵀ of each
    key head; K S, Q S and Kᵀ U, the inverse of I + A and two products with it and with QKᵀ of each value head.
    """
    state = 2 * key_dim * value_dim
    chunk = chunk_of(tokens)
    if chunk == 1:
        return 2 * state * value_heads * tokens
    inverse = sum(2 * chunk * size**2 for size in _doubled(chunk))
    of_key_head = 2 * 2 * chunk**2 * key_dim
    of_value_head = 3 * chunk * state + 2 * 2 * chunk**2 * value_dim + inverse
    return -(-tokens // chunk) * (key_heads * of_key_head + value_heads * of_value_head)


def _by_key_head(x_btm: jax.Array, group: int, key_heads: int) -> jax.Array:
    return x_btm.reshape(*x_btm.shape[:2], key_heads, group, *x_btm.shape[3:])


def _recurrent(
    q_btnh: jax.Array, k_btnh: jax.Array, v_btngv: jax.Array, g_btng: jax.Array, beta_btng: jax.Array, state: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def token(s_bnghv: jax.Array, operands: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        q_bnh, k_bnh, v_bngv, g_bng, beta_bng = operands
        s_bnghv = jnp.exp(g_bng)[..., None, None] * s_bnghv
        u_bngv = beta_bng[..., None] * (v_bngv - _dot("bnghv,bnh->bngv", s_bnghv, k_bnh))
        s_bnghv += k_bnh[:, :, None, :, None] * u_bngv[..., None, :]
        return s_bnghv, _dot("bnghv,bnh->bngv", s_bnghv, q_bnh)

    by_token = [jnp.moveaxis(x, 1, 0) for x in (q_btnh, k_btnh, v_btngv, g_btng, beta_btng)]
    state, out = lax.scan(token, state, tuple(by_token), unroll=True)
    return jnp.moveaxis(out, 0, 1), state


def _chunked(
    q_btnh: jax.Array, k_btnh: jax.Array, v_btngv: jax.Array, g_btng: jax.Array, beta_btng: jax.Array,
    state: jax.Array, chunk: int,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    tokens = q_btnh.shape[1]
    chunks = -(-tokens // chunk)

    def by_chunk(x: jax.Array) -> jax.Array:
        """[chunks, B, N, ..., C, ...]: the tokens behind the heads."""
        x = jnp.pad(x, ((0, 0), (0, chunks * chunk - tokens), *[(0, 0)] * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(x.shape[0], chunks, chunk, *x.shape[2:]), 1, 0).swapaxes(2, 3)

    q, k, v, g, beta = map(by_chunk, (q_btnh, k_btnh, v_btngv, g_btng, beta_btng))
    v, g, beta = (x.swapaxes(3, 4) for x in (v, g, beta))
    state, out = lax.scan(_one_chunk, state, (q, k, v, g, beta))  # out [chunks, B, N, G, C, Hv]
    out = jnp.moveaxis(out, (0, 4), (1, 2))
    return out.reshape(out.shape[0], chunks * chunk, *out.shape[3:])[:, :tokens], state


def _one_chunk(s_bnghv: jax.Array, operands: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    q_bnih, k_bnih, v_bngiv, g_bngi, beta_bngi = operands
    decay_bngij = _decays(g_bngi)
    since_start_bngi1 = jnp.exp(jnp.cumsum(g_bngi, -1))[..., None]
    to_end_bngi1 = decay_bngij[..., -1, :, None]
    kk_bngij = _dot("bnih,bnjh->bnij", k_bnih, k_bnih)[:, :, None]
    below_bngij = jnp.tril(beta_bngi[..., None] * kk_bngij * decay_bngij, -1)
    read_bngiv = since_start_bngi1 * _dot("bnih,bnghv->bngiv", k_bnih, s_bnghv)
    u_bngiv = _dot("bngij,bngjv->bngiv", _inverse(below_bngij), beta_bngi[..., None] * (v_bngiv - read_bngiv))
    qk_bngij = _dot("bnih,bnjh->bnij", q_bnih, k_bnih)[:, :, None] * decay_bngij
    out_bngiv = since_start_bngi1 * _dot("bnih,bnghv->bngiv", q_bnih, s_bnghv)
    out_bngiv += _dot("bngij,bngjv->bngiv", qk_bngij, u_bngiv)
    s_bnghv = since_start_bngi1[..., -1:, :] * s_bnghv
    return s_bnghv + _dot("bnih,bngiv->bnghv", k_bnih, to_end_bngi1 * u_bngiv), out_bngiv


def _decays(g_bngi: jax.Array) -> jax.Array:
    """D [..., C, C].  Each column is summed from its own token on: a difference of sums from the chunk's first one
    would lose what follows a strong decay."""
    below = jnp.tril(jnp.ones((g_bngi.shape[-1],) * 2, bool), -1)
    sums = jnp.cumsum(jnp.where(below, g_bngi[..., None], 0.0), axis=-2)
    return jnp.tril(jnp.exp(sums))


def _doubled(chunk: int) -> list[int]:
    """Sizes of the blocks whose inverses a product joins: 2, 4, ... C/2."""
    return [1 << power for power in range(1, chunk.bit_length() - 1)]


def _inverse(below: jax.Array) -> jax.Array:
    """(I + A)⁻¹ of A [..., C, C] strictly below the diagonal, from the inverses of blocks of 2, 4, ... rows:

    (P 0; R Q)⁻¹ = (P⁻¹ 0; -Q⁻¹ R P⁻¹ Q⁻¹)
    """
    c, ahead = below.shape[-1], below.shape[:-2]
    first = jnp.diagonal(below, -1, -2, -1)[..., ::2]
    one, zero = jnp.ones_like(first), jnp.zeros_like(first)
    inverse = jnp.stack([jnp.stack([one, zero], -1), jnp.stack([-first, one], -1)], -2)  # [..., C/2, 2, 2]
    for size in _doubled(c):
        upper, lower = inverse[..., ::2, :, :], inverse[..., 1::2, :, :]
        blocks = below.reshape(*ahead, c // size, size, c // size, size)
        pairs = jnp.arange(0, c // size, 2)
        across = jnp.moveaxis(blocks[..., pairs + 1, :, pairs, :], 0, -3)
        corner = -_dot("...ij,...jk->...ik", _dot("...ij,...jk->...ik", lower, across), upper)
        top = jnp.concatenate([upper, jnp.zeros_like(upper)], -1)
        inverse = jnp.concatenate([top, jnp.concatenate([corner, lower], -1)], -2)
    return inverse.reshape(below.shape)
