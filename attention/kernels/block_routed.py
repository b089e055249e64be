"""Attention to chosen blocks of keys: queries are sorted by the block that they chose, so that a tile reads one block.

A query at position p chooses its own block, p // B, and of the earlier ones the `topk` - 1 with the greatest gates

    gate[n, b] = q_n · mean of the keys of block b        float32, after rotary positions

the earlier block where gates are equal.  In its own block it sees what is before it.  Every (query, head, choice) is a
row of a tile; a tile reads one block once, and a row's parts are merged by their log-sum-exp.  Memory is linear in the
prompt.  Nothing that a row computes depends on which later rows share its tile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32, Int

from attention.attended import Attended
from attention.chosen import BlockChoice, ChosenBlocks
from attention.exact_count import ExactCount
from attention.kernels.dense import attend_masked
from attention.kernels.first_best import first_best
from attention.kernels.row_tiles import choose_row_tile, most_tiles, tile_rows
from attention.kernels.target import current_target, is_gpu
from attention.pattern import UNBOUNDED, OnEither

GATED_QUERIES = 256
"""Queries whose gates are in memory at once; measured on a CPU."""

GATES_BYTES = 2**26
"""Of gates in memory at once on a GPU where `attention.kernels.pallas_choice` does not choose: few queries are too
little for it to do."""

MOST_ROWS = 256
"""Rows in a tile, at most; measured on a CPU."""

TILES_AT_A_TIME = 64
"""On a GPU, which one tile leaves idle (there derivatives, and heads that no kernel takes, come this way); tiles that
hold no row are computed too."""


def chosen_blocks(
    q_btnh: Float[Array, "b t n h"],
    k_bksh: Float[Array, "b k slots h"],
    q_pos_bt: Int[OnEither, "#b t"],
    pattern: BlockChoice,
) -> Int[Array, "choices b t n"]:
    """int32 [choices, B, T, N]: first a query's own block, then the earlier ones, -1 where there are not so many.

    `k_bksh`: keys at slot = position, a whole number of blocks.
    """
    b, t, n, h = q_btnh.shape
    if isinstance(pattern, ChosenBlocks):
        there = pattern.chosen_jbtm
        chosen_jbtm = jnp.where((there >= 0) & (there < k_bksh.shape[2] // pattern.block), there, -1)
        chosen_jbtn = chosen_jbtm.repeat(n // chosen_jbtm.shape[3], axis=3)
        return jnp.broadcast_to(chosen_jbtn, (chosen_jbtn.shape[0], b, t, n))
    k, slots = k_bksh.shape[1:3]
    own_bt = jnp.broadcast_to(jnp.where(q_pos_bt < 0, -1, q_pos_bt // pattern.block), (b, t))
    own_1btn = jnp.broadcast_to(own_bt[None, ..., None], (1, b, t, n)).astype(jnp.int32)
    earlier = pattern.choices(slots) - 1
    if not earlier:
        return own_1btn
    q_btnh, k_bksh = lax.stop_gradient((q_btnh, k_bksh))
    mean_bkch = k_bksh.astype(jnp.float32).reshape(b, k, -1, pattern.block, h).mean(3)
    with jax.named_scope("selection"):
        choose = _chooser(q_btnh, mean_bkch.shape[2], earlier)
        return jnp.concatenate([own_1btn, choose(q_btnh, mean_bkch, own_bt, earlier)])


def _chooser(q_btnh: jax.Array, n_blocks: int, choices: int) -> Callable[..., jax.Array]:
    """The kernel on a GPU where it can choose for such queries, else plain XLA."""
    target = current_target()
    if is_gpu(target):
        from attention.kernels.pallas_choice import choice_cannot, choose_blocks_pallas  # loads Triton's compiler

        if choice_cannot(q_btnh, n_blocks, choices, target) is None:
            return choose_blocks_pallas
    return _choose_blocks


def _choose_blocks(q_btnh: jax.Array, mean_bkch: jax.Array, own_bt: jax.Array, choices: int) -> jax.Array:
    """`choose_blocks_pallas` in plain XLA, for any device, dtype and number of blocks."""
    (b, t, n, h), (_, k, n_blocks, _) = q_btnh.shape, mean_bkch.shape
    on_gpu = is_gpu(current_target())
    best_blocks = best_by_maximum if on_gpu else best_by_sorting
    queries = max(1, GATES_BYTES // (4 * b * n * n_blocks)) if on_gpu else GATED_QUERIES

    def of_query(operand: tuple[jax.Array, jax.Array]) -> jax.Array:
        q_bkgh, own_b = operand
        gate_bkgc = jnp.einsum("bkgh,bkch->bkgc", q_bkgh.astype(jnp.float32), mean_bkch, precision="highest")
        is_earlier = jnp.arange(n_blocks) < own_b[:, None, None, None]
        return best_blocks(jnp.where(is_earlier, gate_bkgc, -jnp.inf), choices)

    q_tbkgh = q_btnh.reshape(b, t, k, n // k, h).swapaxes(0, 1)
    block_tbkge = lax.map(of_query, (q_tbkgh, own_bt.T), batch_size=queries)
    return jnp.moveaxis(block_tbkge, (4, 1, 0), (0, 1, 2)).reshape(choices, b, t, n)


def best_by_sorting(gate_xc: jax.Array, choices: int) -> jax.Array:
    """int32 [..., choices]: the blocks with the greatest gates, the earlier of equals first, -1 for gates of -inf."""
    gate_xe, block_xe = first_best(gate_xc, choices)
    return jnp.where(gate_xe == -jnp.inf, -1, block_xe).astype(jnp.int32)


def best_by_maximum(gate_xc: jax.Array, choices: int) -> jax.Array:
    """The same, one choice after the other: on a GPU a few passes are cheaper than a sort, on a CPU they are not."""

    def choose(gate_xc: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        block_x = gate_xc.argmax(-1)
        is_chosen_xc = jnp.arange(gate_xc.shape[-1]) == block_x[..., None]
        chosen_x = jnp.where(gate_xc.max(-1) == -jnp.inf, -1, block_x)
        return jnp.where(is_chosen_xc, -jnp.inf, gate_xc), chosen_x.astype(jnp.int32)

    _, block_ex = lax.scan(choose, gate_xc, length=choices)
    return jnp.moveaxis(block_ex, 0, -1)


def attend_chosen_dense(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b #k s"],
    pattern: BlockChoice,
) -> tuple[Float[Array, "b t n h"], Float32[Array, "b n t"]]:
    """The same over the whole mask: an oracle, quadratic in memory.  Results as `attend_dense`."""
    n = q_btnh.shape[2]
    (k_bksh,) = by_position((k_bskh,), kv_pos_bks, pattern.block)
    chosen_jbtn = chosen_blocks(q_btnh, k_bksh, q_pos_bt, pattern)
    kv_pos_bns = kv_pos_bks.repeat(n // kv_pos_bks.shape[1], axis=1)[:, :, None]
    block_bns = kv_pos_bns // pattern.block
    is_chosen = (chosen_jbtn.swapaxes(2, 3)[..., None] == block_bns).any(0)
    mask_bnts = is_chosen & (kv_pos_bns >= 0) & (kv_pos_bns <= q_pos_bt[:, None, :, None])
    return attend_masked(q_btnh, k_bskh, v_bskh, mask_bnts)


def attend_chosen(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b #k s"],
    pattern: BlockChoice,
) -> Attended:
    """As `attend_chosen_dense`, computing chosen blocks only."""
    (b, t, n, h), k, size = q_btnh.shape, k_bskh.shape[2], pattern.block
    k_bksh, v_bksh = by_position((k_bskh, v_bskh), kv_pos_bks, size)
    n_blocks = k_bksh.shape[2] // size
    q_rh = q_btnh.reshape(-1, h)
    q_pos_r = jnp.broadcast_to(q_pos_bt[..., None], (b, t, n)).reshape(-1)
    stream_r = (jnp.arange(b)[:, None, None] * k + jnp.arange(n) // (n // k)).repeat(t, axis=1).reshape(-1)
    blocks = [x.reshape(b * k * n_blocks, size, h) for x in (k_bksh, v_bksh)]
    none = b * k * n_blocks  # the group of rows without a choice, whose tiles do not run
    row_tile = choose_row_tile(q_rh.shape[0], none, MOST_ROWS)

    product = partial(jnp.einsum, precision="highest", preferred_element_type=jnp.float32)  # float32 in no less

    def run_tile(group: jax.Array, row_t: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys, values = (lax.dynamic_index_in_dim(x, group, keepdims=False) for x in blocks)
        scores = h**-0.5 * product("th,sh->ts", q_rh[row_t], keys)
        key_pos = group % n_blocks * size + jnp.arange(size)
        scores = jnp.where((key_pos <= q_pos_r[row_t][:, None]) & (row_t >= 0)[:, None], scores, -jnp.inf)
        top = scores.max(-1)
        top = jnp.where(top == -jnp.inf, 0, top)
        weights = jnp.exp(scores - top[:, None])
        total = weights.sum(-1)
        out = product("ts,sh->th", weights.astype(values.dtype), values)
        return out / jnp.where(total == 0, 1, total)[:, None], top + jnp.log(total)

    def skip_tile(group: jax.Array, row_t: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((row_t.size, h), jnp.float32), jnp.full(row_t.size, -jnp.inf)

    def one_choice(merged: tuple, chosen_r: jax.Array) -> tuple[tuple, None]:
        tiles = tile_rows(jnp.where(chosen_r < 0, none, stream_r * n_blocks + chosen_r), none + 1, row_tile)

        def one_tile(tile: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return lax.cond(tile[0] < none, run_tile, skip_tile, *tile)

        at_a_time = TILES_AT_A_TIME if is_gpu(current_target()) else None
        out, lse = lax.map(one_tile, (tiles.group_i, tiles.row_it), batch_size=at_a_time)
        out_rh, lse_r = out.reshape(-1, h)[tiles.place_r], lse.reshape(-1)[tiles.place_r]
        ran = (tiles.group_i < none).sum() if at_a_time is None else tiles.group_i.size
        return (*_merge(merged[0], merged[1], out_rh, lse_r), merged[2] + ran), None

    nothing = jnp.zeros((q_rh.shape[0], h), jnp.float32), jnp.full(q_rh.shape[0], -jnp.inf), jnp.int32(0)
    chosen_jr = chosen_blocks(q_btnh, k_bksh, q_pos_bt, pattern).reshape(-1, q_rh.shape[0])
    (out_rh, lse_r, ran), _ = lax.scan(one_choice, nothing, chosen_jr)
    out_btnh = out_rh.reshape(q_btnh.shape).astype(q_btnh.dtype)
    return Attended(out_btnh, lse_r.reshape(b, t, n).swapaxes(1, 2), ExactCount.of(ran) * (row_tile * size))


def most_pairs(pattern: BlockChoice, n_heads: int, n_kv_heads: int, tokens: int, slots: int) -> int:
    """(query, key) pairs, all query heads, of the tiles that `attend_chosen` provides for any choice, batch 1."""
    rows, groups = tokens * n_heads, n_kv_heads * pattern.n_blocks(slots)
    row_tile = choose_row_tile(rows, groups, MOST_ROWS)
    return pattern.choices(slots) * most_tiles(rows, groups + 1, row_tile) * row_tile * pattern.block


def _merge(out_rh: jax.Array, lse_r: jax.Array, more_rh: jax.Array, more_lse_r: jax.Array) -> tuple:
    """Two parts of each row's softmax as one."""
    both = jnp.logaddexp(lse_r, more_lse_r)
    shares = (jnp.exp(jnp.where(both == -jnp.inf, -jnp.inf, lse - both))[:, None] for lse in (lse_r, more_lse_r))
    return sum(share * part for share, part in zip(shares, (out_rh, more_rh), strict=True)), both


def by_position(arrays_bskh: tuple[jax.Array, ...], kv_pos_bks: OnEither, size: int) -> tuple[jax.Array, ...]:
    """Keys, values: each [B, K, S', H] at slot = position, S' a whole number of blocks."""
    b, s, k, _ = arrays_bskh[0].shape
    pos_bks = jnp.broadcast_to(kv_pos_bks, (b, k, s))
    arrays = tuple(x.swapaxes(1, 2) for x in arrays_bskh)

    def sort(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        order = jnp.argsort(jnp.where(pos_bks < 0, UNBOUNDED, pos_bks), axis=-1)[..., None]
        return tuple(jnp.take_along_axis(x, order, axis=2) for x in arrays)

    in_order = ((kv_pos_bks == jnp.arange(s)) | (kv_pos_bks < 0)).all()
    arrays = lax.cond(in_order, lambda arrays: arrays, sort, arrays)  # all but ragged caches are
    return tuple(jnp.pad(x, ((0, 0), (0, 0), (0, -s % size), (0, 0))) for x in arrays)
