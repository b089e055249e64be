"""The project's own GPU kernels, each alone, with the tiles that are asked for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from attention.exact_count import ExactCount
from attention.kernels import (
    pallas_blocks,
    pallas_choice,
    pallas_decode,
    pallas_delta_rule,
    pallas_key_mass,
    pallas_merge,
    pallas_write,
)
from attention.kernels.matmul_tiles import MatmulTiles, matmul_tiles
from attention.kernels.pallas_attention import attend_pallas
from attention.kernels.target import current_target
from attention.kernels.tiles import attention_tiles
from attention.pattern import UNBOUNDED
from eval.lowering.dtypes import dtype_of
from eval.lowering.kernel_parts import Part, abstract_stack
from eval.measure.refuse_impl import refuse_several_heads
from refmodel.kernels import choose_experts_pallas, norm_rope_pallas, packed_rows, projection_pallas
from refmodel.kernels.grouped_pallas import expert_ffn_pallas
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class AttentionKernel:
    """Attention of one layer by `attention.kernels.pallas_attention`: [1, T, N, H] against K = N / group heads.

    Spans, sinks and positions are data of the kernel: one code object serves every window.
    """

    component: ClassVar[str] = "attention"
    kernel: ClassVar[str] = "span_attention"

    rows: int
    keys: int
    warps: int
    stages: int
    head_dim: int = 128
    group: int = 8
    n_kv_heads: int = 4
    tokens: int = 4096
    dtype: str = "bf16"

    @property
    def tile_name(self) -> str:
        return f"{self.rows}x{self.keys} tiles, {self.warps} warps, {self.stages} stages"

    @property
    def shapes(self) -> str:
        return f"attention, {self.dtype}, head size {self.head_dim}, group of {self.group}"

    @property
    def title(self) -> str:
        return f"{self.shapes}: {self.tile_name}"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Scores and values: rows · keys · H each."""
        return (Part(self.kernel, 2, self.rows * self.keys * self.head_dim // self.warps),)

    def build(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function, and its arguments as shapes: q, k and v of a prompt under full attention."""
        t, k, h = self.tokens, self.n_kv_heads, self.head_dim

        def attention(q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array) -> tuple[jax.Array, ExactCount]:
            shipped = attention_tiles(current_target(), q_btnh.dtype, h)
            tiles = dataclasses.replace(shipped, rows=self.rows, keys=self.keys, warps=self.warps, stages=self.stages)
            pos_11t = jnp.arange(t, dtype=jnp.int32)[None, None]
            everything, no_sink = jnp.full((1, 1, 1), UNBOUNDED, jnp.int32), jnp.zeros(1, jnp.int32)
            out_btnh, _, visited = attend_pallas(
                q_btnh, k_bskh, v_bskh, pos_11t, pos_11t, everything, no_sink, tiles=tiles
            )
            return out_btnh, visited

        shapes = ((1, t, k * self.group, h), (1, t, k, h), (1, t, k, h))
        return attention, tuple(jax.ShapeDtypeStruct(shape, dtype_of(self.dtype)) for shape in shapes)


@dataclass(frozen=True)
class ExpertKernel:
    """The experts' feed-forward of one layer by `refmodel.kernels.grouped_pallas`, with Qwen3-30B-A3B's widths.

    `coding` is that of the weights (`refmodel.packed.codings`); none where they are of `dtype`.
    """

    component: ClassVar[str] = "experts"
    kernel: ClassVar[str] = "grouped_matmul"

    rows: int
    least_rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    d_model: int = 2048
    d_expert: int = 768
    n_experts: int = 128
    experts_per_token: int = 8
    n_layers: int = 2
    tokens: int = 4096
    dtype: str = "bf16"
    coding: str = ""

    @property
    def tile_name(self) -> str:
        return f"{self.rows}x{self.columns}x{self.depth} tiles, {self.warps} warps, {self.stages} stages"

    @property
    def shapes(self) -> str:
        packed = f" by {self.coding}" if self.coding else ""
        return f"experts, {self.dtype}{packed}, {self.n_experts} of {self.d_model}x{self.d_expert}"

    @property
    def title(self) -> str:
        return f"{self.shapes}: {self.tile_name}"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Gate with up, and down: rows · columns · depth in a step, the columns shared by the weights."""
        return (Part(self.kernel, 1, self.rows * self.columns * self.depth // self.warps),)

    def build(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function, and its arguments as shapes: x, experts, weights, the three stacks, the layer."""
        tiles = MatmulTiles(self.rows, self.least_rows, self.columns, self.depth, self.warps, self.stages)

        def experts(*operands: Any) -> jax.Array:
            return expert_ffn_pallas(*operands, tiles=tiles)

        stack = (self.n_layers, self.n_experts)
        d, f, per_token = self.d_model, self.d_expert, (self.tokens, self.experts_per_token)
        x = jax.ShapeDtypeStruct((self.tokens, d), dtype_of(self.dtype))
        weights = (abstract_stack((*stack, *side), self.coding, self.dtype) for side in ((d, f), (d, f), (f, d)))
        chosen = (jax.ShapeDtypeStruct(per_token, jnp.int32), jax.ShapeDtypeStruct(per_token, jnp.float32))
        return experts, (x, *chosen, *weights, jax.ShapeDtypeStruct((), jnp.int32))


@dataclass(frozen=True)
class ProjectionKernel:
    """Few rows times the matrices of queries, keys and values of a layer of Qwen3-30B-A3B, with the tiles that ship."""

    component: ClassVar[str] = "attention_projections"
    kernel: ClassVar[str] = projection_pallas.NAME

    rows: int = 1
    d_model: int = 2048
    widths: tuple[int, ...] = (4096, 512, 512)
    dtype: str = "bf16"
    coding: str = ""

    @property
    def title(self) -> str:
        return f"projections of {self.rows} rows, {self.dtype}{f' by {self.coding}' if self.coding else ''}"

    shapes = title
    tile_name: ClassVar[str] = "the tiles that ship"

    @property
    def parts(self) -> tuple[Part, ...]:
        """One kernel, each of whose matrices has a loop of its own: that the matrix units do it, not how much."""
        return (Part(self.kernel, 1, 1),)

    def build(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function, and its arguments as shapes: x, the stacks, the layer."""
        x = jax.ShapeDtypeStruct((self.rows, self.d_model), dtype_of(self.dtype))
        stacks = tuple(abstract_stack((2, self.d_model, width), self.coding, self.dtype) for width in self.widths)
        return projection_pallas.project_few_rows, (x, stacks, jax.ShapeDtypeStruct((), jnp.int32))


@dataclass(frozen=True)
class PackedRowsKernel(ProjectionKernel):
    """The same by the kernel that takes few rows of packed weights, which has no use for matrix units."""

    kernel: ClassVar[str] = packed_rows.NAME

    coding: str = "int4(32)"

    @property
    def parts(self) -> tuple[Part, ...]:
        return ()

    def build(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        _, arguments = super().build()
        return packed_rows.project_packed_rows, arguments


TiledKernel = AttentionKernel | ExpertKernel
"""Those whose tiles are fields, for a search."""
KernelProgram = TiledKernel | ProjectionKernel | PackedRowsKernel


def launched_as(wanted: str, name: str) -> bool:
    """Whether a GPU kernel `name` is the kernel `wanted`; XLA numbers those of one name."""
    return bool(re.fullmatch(wanted + r"(_+\d+)?", name))


def is_own(name: str) -> bool:
    """Whether a GPU kernel is one of this project's, and not one that the compiler made."""
    with_programs = (program.kernel for program in (AttentionKernel, ExpertKernel))
    modules = (
        pallas_blocks, pallas_choice, pallas_decode, pallas_key_mass, pallas_merge, pallas_write,
        norm_rope_pallas, choose_experts_pallas, packed_rows, projection_pallas,
    )  # fmt: skip
    rule = (pallas_delta_rule.INVERSE, pallas_delta_rule.STATES, pallas_delta_rule.OUT)
    others = (*rule, *(module.NAME for module in modules))
    return any(launched_as(kernel, name) for kernel in (*with_programs, *others))


def shipped_attention(target: str, head_dim: int, group: int, dtype: str = "bf16") -> AttentionKernel:
    """The attention kernel with the tiles that the project ships for a target."""
    tiles = attention_tiles(target, dtype_of(dtype), head_dim)
    return AttentionKernel(tiles.rows, tiles.keys, tiles.warps, tiles.stages, head_dim, group, dtype=dtype)


def attention_of(
    config: ModelConfig, target: str, dtype: str = "bf16", head_dim: int | None = None, group: int | None = None
) -> AttentionKernel:
    """`shipped_attention` for a model's heads, or in their place a head size or a group that are given.

    Raises `ValueError` for a model with heads of several sizes, where not both are given.
    """
    if not (head_dim and group):
        refuse_several_heads(config, "the attention kernel has one: give --head-dim and --group, or other --programs")
    return shipped_attention(target, head_dim or config.head_dim, group or config.group_size, dtype)


def shipped_experts(target: str, tokens: int, dtype: str = "bf16", coding: str = "") -> ExpertKernel:
    """The experts' kernels with the tiles that the project ships for a target and so many tokens."""
    kernel = ExpertKernel(0, 0, 0, 0, 0, 0)
    rows = tokens * kernel.experts_per_token
    t = matmul_tiles(target, dtype_of(dtype), rows, kernel.n_experts, kernel.d_model, bool(coding))
    return ExpertKernel(
        t.rows, t.least_rows, t.columns, t.depth, t.warps, t.stages, tokens=tokens, dtype=dtype, coding=coding
    )
