"""Attention to chosen blocks of keys in Pallas-Triton, for CUDA and ROCm.

In its own block a query at position p sees a span of p % block + 1 keys: that part is the kernel for spans.  Every
(choice, query, head) of the earlier blocks is a row of a tile whose rows chose one block; all choices, and the heads of
a group, share one table of tiles.  An earlier block is whole and behind the query, so that its kernel needs no mask.
A row's parts are merged by their log-sum-exp; all of them are there at once, topk - 1 times as large as the queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.attended import Attended
from attention.chosen import BlockChoice, ChosenBlocks
from attention.exact_count import ExactCount
from attention.kernels.block_routed import attend_chosen, by_position, chosen_blocks
from attention.kernels.derivative import with_derivative_of
from attention.kernels.pallas_program import LOG2_E, State, exp2_ptx
from attention.kernels.pallas_spans import attend_pallas_spans
from attention.kernels.ref import Ref
from attention.kernels.row_tiles import RowTiles, choose_row_tile, tile_rows
from attention.kernels.target import current_target
from attention.kernels.tiles import AttentionTiles, block_tiles
from attention.pattern import Spans

NAME = "block_attention"
"""Of the kernel, as GPUs and counters see it."""

LEAST_SIDE = 16
"""Of a tile: what Triton multiplies at least."""


def attend_pallas_blocks(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array,
    pattern: BlockChoice,
    *,
    return_lse: bool = False,
    tiles: AttentionTiles | None = None,
    interpret: bool = False,
) -> Attended:
    """`attend_chosen` by kernels; `tiles` (of both) and `interpret` as `attend_pallas` has them.

    Differentiable in q, k and v, as the blockwise form is.
    """

    def again(chosen: tuple[jax.Array, ...]) -> BlockChoice:
        return ChosenBlocks(pattern.block, pattern.topk, *chosen) if chosen else pattern

    def kernel(*operands: Any) -> Attended:
        return _forward(*operands[:5], pattern=again(operands[5:]), tiles=tiles, interpret=interpret)

    def plain(*operands: Any) -> Attended:
        q, k, v, q_pos, kv_pos, *chosen = operands
        return attend_chosen(q, k, v, q_pos, kv_pos, again(tuple(chosen)))

    chosen = (pattern.chosen_jbtm,) if isinstance(pattern, ChosenBlocks) else ()  # data: an operand, not a constant
    found = with_derivative_of(plain, kernel)(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, *chosen)
    return found if return_lse else replace(found, lse_bnt=None)


def _forward(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, q_pos_bt: jax.Array, kv_pos_bks: jax.Array, *,
    pattern: BlockChoice, tiles: AttentionTiles | None, interpret: bool,
) -> Attended:  # fmt: skip
    span_b1t = (q_pos_bt % pattern.block + 1)[:, None]
    own = attend_pallas_spans(
        q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, Spans(span_b1t, jnp.zeros(1, jnp.int32)),
        return_lse=True, tiles=tiles, interpret=interpret,
    )  # fmt: skip
    k_bksh, v_bksh = by_position((k_bskh, v_bskh), kv_pos_bks, pattern.block)
    chosen_ebtn = chosen_blocks(q_btnh, k_bksh, q_pos_bt, pattern)[1:]
    if not chosen_ebtn.shape[0]:
        return own
    (b, k, s, h), n = k_bksh.shape, q_btnh.shape[2]
    n_blocks = s // pattern.block
    tiles = tiles or block_tiles(current_target(), q_btnh.dtype, h)
    keys_gch, values_gch = (x.reshape(-1, pattern.block, h) for x in (k_bksh, v_bksh))
    groups = b * k * n_blocks
    tiles = _fitting(tiles, chosen_ebtn.size, groups, pattern.block)
    first_b1n = (jnp.arange(b)[:, None, None] * k + jnp.arange(n) // (n // k)) * n_blocks
    with jax.named_scope("table"):  # pairs without a choice are a last group, whose tiles do not run
        group_p = jnp.where(chosen_ebtn < 0, groups, first_b1n + chosen_ebtn).reshape(-1)
        table = tile_rows(group_p, groups + 1, tiles.rows)
    part_ph, lse_p = attend_blocks(q_btnh.reshape(-1, h), keys_gch, values_gch, table, tiles=tiles, interpret=interpret)
    parts = part_ph.reshape(*chosen_ebtn.shape, h), lse_p.reshape(chosen_ebtn.shape)
    out_btnh, lse_bnt = _merge(own, *parts, chosen_ebtn >= 0)
    ran = ExactCount.of(table.group_i < groups) * (tiles.rows * _key_tiles(pattern.block, tiles) * tiles.keys)
    assert own.visited is not None
    return Attended(out_btnh, lse_bnt, own.visited + ran)


def attend_blocks(
    q_rh: jax.Array,
    keys_gch: jax.Array,
    values_gch: jax.Array,
    table: RowTiles,
    *,
    tiles: AttentionTiles,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """softmax(q·k / sqrt(H), over the keys of one block)·v for each pair, [P, H] in q's dtype; log-sum-exp [P] float32.

    Args:
        q_rh: queries; pair p is query p % R.
        keys_gch, values_gch: G blocks of C keys.
        table: P pairs by block, cut with `tiles.rows`; pairs of a block beyond the last are left unwritten.
    """
    (rows, h), (groups, block, _), pairs = q_rh.shape, keys_gch.shape, table.place_r.size
    key_tiles = _key_tiles(block, tiles)
    missing = key_tiles * tiles.keys - block
    keys_gch, values_gch = (jnp.pad(x, [(0, 0), (0, missing), (0, 0)]) for x in (keys_gch, values_gch))
    values = values_gch.swapaxes(1, 2) if tiles.v_by_column else values_gch
    static = _Static(rows, groups, block, tiles)
    n_tiles, itemsize = table.group_i.size, q_rh.dtype.itemsize
    cost = pl.CostEstimate(  # of as many tiles as any choice may need
        flops=4 * n_tiles * tiles.rows * key_tiles * tiles.keys * h,
        transcendentals=n_tiles * tiles.rows * key_tiles * tiles.keys,
        bytes_accessed=(2 * pairs * h + keys_gch.size + values.size) * itemsize,
    )
    return pl.pallas_call(
        partial(_kernel, static=static, exp2=exp2_ptx if tiles.ptx and not interpret else jnp.exp2),
        grid=(n_tiles,),
        out_shape=(jax.ShapeDtypeStruct((pairs, h), q_rh.dtype), jax.ShapeDtypeStruct((pairs,), jnp.float32)),
        compiler_params=plgpu.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages),
        interpret=interpret,
        name=NAME,
        cost_estimate=cost,
    )(q_rh, keys_gch, values, table.group_i.astype(jnp.int32), table.row_it.astype(jnp.int32))


class _Static(NamedTuple):
    """What a kernel is compiled for."""

    rows: int
    groups: int
    block: int
    tiles: AttentionTiles


def _kernel(
    q_ref: Ref, k_ref: Ref, v_ref: Ref, group_ref: Ref, pair_ref: Ref, out_ref: Ref, lse_ref: Ref, *, static: _Static,
    exp2: Callable[[jax.Array], jax.Array],
) -> None:  # fmt: skip
    tile = pl.program_id(0)
    group = group_ref[tile]
    pl.when(group < static.groups)(
        lambda: _compute(q_ref, k_ref, v_ref, group, pair_ref[tile, :], out_ref, lse_ref, static, exp2)
    )


def _compute(
    q_ref: Ref, k_ref: Ref, v_ref: Ref, group: jax.Array, pair: jax.Array, out_ref: Ref, lse_ref: Ref, static: _Static,
    exp2: Callable[[jax.Array], jax.Array],
) -> None:  # fmt: skip
    """One tile of rows against one block."""
    (rows, keys), head_dim = (static.tiles.rows, static.tiles.keys), q_ref.shape[-1]
    exists = pair >= 0
    exists_h = jnp.broadcast_to(exists[:, None], (rows, head_dim))

    def at(row: jax.Array) -> tuple[jax.Array, ...]:
        """Every index an array of the whole tile: interpret mode takes no mixture of arrays and slices."""
        return tuple(jnp.broadcast_to(x, (rows, head_dim)) for x in (row[:, None], jnp.arange(head_dim)[None]))

    q = plgpu.load(q_ref.at[at(jnp.maximum(pair, 0) % static.rows)], mask=exists_h, other=0.0)
    scale = LOG2_E / head_dim**0.5  # exp2 is what the hardware has
    dot = partial(
        lax.dot_general,
        precision=lax.Precision.HIGHEST if q.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )

    def visit(i: jax.Array | int, state: State, ragged: bool = False) -> State:
        """One step of the online softmax: every row sees every key."""
        top, total, acc = state
        here = pl.ds(i * keys, keys)
        scores = dot(q, k_ref[group, here, :], (((1,), (1,)), ((), ())))
        if ragged:
            scores = jnp.where(i * keys + jnp.arange(keys)[None] < static.block, scores, -jnp.inf)
        new_top = jnp.maximum(top, scores.max(1) * scale)
        weights = exp2(scores * scale - new_top[:, None])
        rescale = exp2(top - new_top)
        by_column = static.tiles.v_by_column
        v = v_ref[group, :, here] if by_column else v_ref[group, here, :]
        acc = acc * rescale[:, None] + dot(weights.astype(v.dtype), v, (((1,), (int(by_column),)), ((), ())))
        return new_top, total * rescale + weights.sum(1), acc

    nothing = jnp.full(rows, -jnp.inf, jnp.float32), jnp.zeros(rows, jnp.float32)
    whole = static.block // keys
    state = lax.fori_loop(0, whole, visit, (*nothing, jnp.zeros((rows, head_dim), jnp.float32)))
    top, total, acc = visit(whole, state, ragged=True) if static.block % keys else state

    place = jnp.where(exists, pair, out_ref.shape[0])
    plgpu.store(out_ref.at[at(place)], (acc / total[:, None]).astype(out_ref.dtype), mask=exists_h)
    plgpu.store(lse_ref.at[place], (top + jnp.log2(total)) / LOG2_E, mask=exists)


def _fitting(tiles: AttentionTiles, pairs: int, groups: int, block: int) -> AttentionTiles:
    """Tiles no larger than what a block's rows and keys fill; 16 rows for each warp where there are over four."""
    rows = min(tiles.rows, max(LEAST_SIDE, choose_row_tile(pairs, groups, tiles.rows)))
    keys = min(tiles.keys, max(LEAST_SIDE, pl.next_power_of_2(block)))
    return replace(tiles, rows=rows, keys=keys, warps=min(tiles.warps, max(4, rows // LEAST_SIDE)))


def _key_tiles(block: int, tiles: AttentionTiles) -> int:
    return pl.cdiv(block, tiles.keys)


@jax.named_scope("merge")
def _merge(own: Attended, part_ebtnh: jax.Array, lse_ebtn: jax.Array, exists_ebtn: jax.Array) -> tuple:
    """All parts of each row's softmax as one; what does not exist was never written, and may be anything."""
    lse_ebtn = jnp.where(exists_ebtn, lse_ebtn, -jnp.inf)
    assert own.lse_bnt is not None
    own_lse_btn = own.lse_bnt.swapaxes(1, 2)
    lse_btn = jnp.logaddexp(own_lse_btn, jax.nn.logsumexp(lse_ebtn, axis=0))
    top_btn = jnp.where(lse_btn == -jnp.inf, 0, lse_btn)

    out_btnh = jnp.exp(own_lse_btn - top_btn)[..., None] * own.out_btnh.astype(jnp.float32)
    for part_btnh, lse, exists in zip(part_ebtnh, lse_ebtn, exists_ebtn, strict=True):  # one pass, not a reduction
        out_btnh += jnp.where(exists[..., None], jnp.exp(lse - top_btn)[..., None] * part_btnh, 0)
    return out_btnh.astype(own.out_btnh.dtype), lse_btn.swapaxes(1, 2)
