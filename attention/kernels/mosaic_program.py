"""A program of the Hopper kernel: the order of its items, and the warpgroup that has tiles brought to the other two."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as mgpu

from attention.kernels.mosaic_item import ROWS, Item, Memory, Static, count_items, item_place, seen_place
from attention.kernels.mosaic_rows import attend_rows
from attention.kernels.pallas_ranges import Ranges
from attention.kernels.ref import Ref


def attend_items(
    q_ref: Ref, k_ref: Ref, v_ref: Ref, pos_ref: Ref, left_ref: Ref, sink_ref: Ref, ranges_ref: Ref, *out_refs: Ref,
    static: Static,
) -> None:  # fmt: skip
    """The kernel: every program turns over the items that are its own."""
    swizzled = mgpu.TilingTransform((8, 64)), mgpu.SwizzleTransform(128)
    stages, keys, places = static.stages, static.keys, 2 * static.q_buffers

    def tiles(*sizes: int) -> Ref:
        return mgpu.SMEM((*sizes, static.head_dim), q_ref.dtype, transforms=swizzled)

    def barriers(count: int, arrivals: int = 1) -> Ref:
        return mgpu.Barrier(num_barriers=count, num_arrivals=arrivals)

    def free_barriers() -> Ref:
        """Of keys and values, which go to every program of a cluster: free once the warpgroups of all are through.

        A warpgroup arrives at those of a cluster by one of its threads, without waiting for the others: what only the
        tensor cores read is read by then, and nothing else may read keys or values.
        """
        if static.cluster == 1:
            return barriers(stages, arrivals=2)
        return mgpu.ClusterBarrier(collective_axes=("rank",), num_barriers=stages, num_arrivals=2)

    def run(*refs: Ref) -> None:
        memory = Memory(*refs)
        cluster, warpgroup = lax.axis_index("cluster"), lax.axis_index("warpgroup")
        rank = lax.axis_index("rank") if static.cluster > 1 else 0
        count = count_items(cluster, static)

        def item(j: jax.Array | int) -> Item:
            batch, head, row_tile = item_place(cluster, rank, jnp.minimum(j, count - 1), static)
            seen = seen_place(batch, head, static)
            bounds = Ranges(*(ranges_ref[*seen, row_tile, i] for i in range(len(Ranges._fields))))
            return Item(batch, head, row_tile, seen, bounds)

        @pl.when(warpgroup < 2)
        def _() -> None:
            mgpu.set_max_registers(232, action="increase")

            @pl.when(warpgroup == 1)
            def _() -> None:
                mgpu.barrier_arrive(memory.turn.at[0])  # the first turn is the other's

            def attend_item(j: jax.Array, carry: tuple[Item, jax.Array]) -> tuple[Item, jax.Array]:
                item_, start = carry
                following = item(j + 1)  # read ahead
                rows = pos_ref, left_ref, sink_ref
                attend_rows(rows, out_refs, memory, item_, j, start, warpgroup, j == count - 1, static)
                return following, start + item_.n_tiles

            lax.fori_loop(0, count, attend_item, (item(0), jnp.int32(0)))
            mgpu.wait_smem_to_gmem(0)
            if static.q_buffers > 1:
                mgpu.barrier_arrive(memory.q_free.at[lax.rem(count - 1, jnp.int32(static.q_buffers))])

        @pl.when(warpgroup == 2)
        def _() -> None:
            mgpu.set_max_registers(40, action="decrease")

            def bring_item(j: jax.Array, carry: tuple[Item, jax.Array]) -> tuple[Item, jax.Array]:
                item_, start = carry
                following = item(j + 1)
                _bring_tiles(q_ref, k_ref, v_ref, memory, item_, j, start, static)
                return following, start + item_.n_tiles

            _, total = lax.fori_loop(0, count, bring_item, (item(0), jnp.int32(0)))
            _wait_for_the_last(memory, count, total, static)

    pl.run_scoped(
        run, tiles(places, ROWS), tiles(stages, keys), tiles(stages, keys), barriers(places),
        barriers(static.q_buffers, arrivals=2), barriers(stages), free_barriers(), barriers(stages), free_barriers(),
        barriers(2), *(mgpu.SMEM((places, ROWS), jnp.float32) for _ in out_refs[1:]), collective_axes="warpgroup",
    )  # fmt: skip


def _bring_tiles(
    q_ref: Ref, k_ref: Ref, v_ref: Ref, memory: Memory, item: Item, j: jax.Array, start: jax.Array, static: Static
) -> None:
    """Of the j-th item: queries, and tile i + 1 of keys before tile i of values, the order in which they are wanted.

    `start` counts the tiles of the items before.
    """
    kv_head = lax.div(item.head, jnp.int32(static.group))

    def bring(i: jax.Array, source: Ref, target: Ref, full: Ref, free: Ref) -> None:
        slot = lax.rem(start + i, jnp.int32(static.stages))

        @pl.when(start + i >= static.stages)
        def _() -> None:
            mgpu.barrier_wait(free.at[slot])

        keys = pl.ds(item.tile(i) * static.keys, static.keys)
        tile, everyone = source.at[item.batch, keys, kv_head], "rank" if static.cluster > 1 else None
        mgpu.copy_gmem_to_smem(tile, target.at[slot], full.at[slot], collective_axes=everyone)

    def bring_keys(i: jax.Array) -> None:
        @pl.when(i < item.n_tiles)
        def _() -> None:
            bring(i, k_ref, memory.k, memory.k_full, memory.k_free)

    bring_keys(jnp.int32(0))
    _bring_queries(q_ref, memory, item, j, static)

    @pl.loop(0, item.n_tiles)
    def _(i: jax.Array) -> None:
        bring_keys(i + 1)
        bring(i, v_ref, memory.v, memory.v_full, memory.v_free)


def _bring_queries(q_ref: Ref, memory: Memory, item: Item, j: jax.Array, static: Static) -> None:
    """Of the j-th item, after its first keys: they need not wait until the place of its queries is free."""
    buffer = lax.rem(j, jnp.int32(static.q_buffers))

    @pl.when(j >= static.q_buffers)
    def _() -> None:
        mgpu.barrier_wait(memory.q_free.at[buffer])

    for warpgroup in range(2):
        place = 2 * buffer + warpgroup
        source = q_ref.at[item.batch, item.rows(warpgroup), item.head]
        mgpu.copy_gmem_to_smem(source, memory.q.at[place], memory.q_full.at[place])


def _wait_for_the_last(memory: Memory, items: jax.Array, tiles: jax.Array, static: Static) -> None:
    """Nothing is left in flight: every arrival at a barrier has been waited for."""

    def wait(free: Ref, places: int, number: jax.Array) -> None:
        @pl.when(number >= 0)
        def _() -> None:
            mgpu.barrier_wait(free.at[lax.rem(number, jnp.int32(places))])

    for back in range(static.stages):
        wait(memory.k_free, static.stages, tiles - 1 - back)
        wait(memory.v_free, static.stages, tiles - 1 - back)
    for back in range(static.q_buffers):
        wait(memory.q_free, static.q_buffers, items - 1 - back)
