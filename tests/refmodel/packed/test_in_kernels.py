"""A coding's numbers and scales in a kernel, whose tiles are a group of some rows: element by element, no gather."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from refmodel.packed.codings import codings
from refmodel.packed.planes import unpack_levels
from tests.gpu import TRITON_IS_LEAVING, absent_gpu

pytestmark = TRITON_IS_LEAVING

CODINGS = codings()
ROWS, DEPTH = 128, 512


def decoded(coding, level, fields, interpret):
    """float32 [rows, depth], a group a program; `fields` with an item for each row."""
    size = coding.group_size(DEPTH)

    def kernel(level_ref, *refs):
        *field_refs, out_ref = refs
        group, by_name = pl.program_id(0), dict(zip(fields, field_refs, strict=True))

        def read(name):
            return by_name[name][:, pl.ds(group // coding.fields[name].groups, 1)]

        scale, minimum = coding.scales(read, group)
        weight = coding.number(level_ref[...]) * scale
        out_ref[...] = weight if minimum is None else weight - minimum

    tile = pl.BlockSpec((ROWS, size), lambda group: (0, group))
    return pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((ROWS, DEPTH), jnp.float32),
        grid=(DEPTH // size,),
        in_specs=[tile, *(pl.BlockSpec(part.shape, lambda group: (0, 0)) for part in fields.values())],
        out_specs=tile,
        compiler_params=plgpu.CompilerParams(),
        interpret=interpret,
    )(level, *fields.values())


def operands(coding):
    rng = np.random.default_rng(0)
    drawn = coding.draw(jax.random.key(0), (ROWS, DEPTH), 1.0)
    fields = {
        name: part if jnp.issubdtype(part.dtype, jnp.floating) else rng.integers(9, 120, part.shape).astype(part.dtype)
        for name, part in drawn.items() if name in coding.fields
    }  # fmt: skip
    level = drawn["byte"] if coding.bits == 8 else unpack_levels(drawn, coding.bits)
    each_row = {name: jnp.repeat(part, coding.fields[name].rows, 0) for name, part in fields.items()}
    return level, each_row, {**drawn, **fields}


@pytest.mark.parametrize("name", CODINGS)
def test_a_group_at_a_time_is_the_whole(name, fast_compile):
    coding = CODINGS[name]
    level, fields, parts = operands(coding)
    found = decoded(coding, level, fields, interpret=True)
    np.testing.assert_array_equal(found, coding.decode(parts, ROWS, DEPTH))


@pytest.mark.parametrize("name", CODINGS)
def test_triton_takes_it(name):
    coding = CODINGS[name]
    level, fields, _ = operands(coding)
    with absent_gpu("NVIDIA H100 80GB HBM3"):
        traced = jax.jit(lambda level, fields: decoded(coding, level, fields, interpret=False)).trace(level, fields)
        assert "triton" in traced.lower(lowering_platforms=("cuda",)).as_text()
