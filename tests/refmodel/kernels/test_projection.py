"""Few rows times a layer's matrices: the kernel interpreted on a CPU and compiled on a GPU, and who takes it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.kernels.matmul_tiles import ProjectionTiles
from attention.kernels.target import compiling_for
from refmodel.kernels.projection import MOST_ROWS, project
from refmodel.kernels.projection_pallas import NAME, project_few_rows
from tests.gpu import TRITON_IS_LEAVING, close
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

LAYER, SMALL = 1, ProjectionTiles(16, 32, 4, 1)
EXACT = partial(jnp.matmul, precision="highest")


def draw(rows, depth, widths, dtype=jnp.float32):
    """Rows, and a stack of three layers of each matrix; layers that are not meant are NaN."""
    rng = np.random.default_rng(rows)
    x = on_device(rng.normal(size=(rows, depth)), dtype)
    stacks = [np.full((3, depth, width), np.nan, dtype) for width in widths]
    for stack in stacks:
        stack[LAYER] = rng.normal(size=stack.shape[1:]) / depth**0.5
    return x, tuple(map(jnp.asarray, stacks))


@pytest.mark.parametrize("rows", [1, 5, 17, 64])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_interpreted_kernel_is_the_product(rows, dtype):
    """Unwritten outputs of an interpreted kernel are NaN, so that every element is seen to be written."""
    x, stacks = draw(rows, 96, (48, 16, 80), dtype)
    run = jax.jit(partial(project_few_rows, tiles=SMALL, interpret=True, dtype=jnp.float32))
    for found, stack in zip(run(x, stacks, jnp.int32(LAYER)), stacks, strict=True):
        wanted = EXACT(x.astype(jnp.float32), stack[LAYER].astype(jnp.float32))
        assert found.dtype == jnp.float32 and close(found, wanted, 1e-5)


@pytest.mark.parametrize(("depth", "width", "wrong"), [(24, 16, "depth .* got 24"), (16, 40, "width .* got 40")])
def test_sides_that_the_kernel_does_not_take(depth, width, wrong):
    x, stacks = draw(3, depth, (width,))
    with pytest.raises(ValueError, match=wrong):
        project_few_rows(x, stacks, jnp.int32(0), tiles=SMALL, interpret=True)


@pytest.mark.parametrize(
    ("target", "rows", "width", "runs"),
    [("sm_90", 1, 48, True), ("gfx1201", MOST_ROWS, 48, True), ("sm_90", MOST_ROWS + 1, 48, False),
     ("sm_90", 1, 40, False), ("cpu", 1, 48, False)],
)  # fmt: skip
def test_a_gpu_takes_few_rows_whose_sides_fit(target, rows, width, runs):
    x, stacks = draw(rows, 32, (width,))
    with compiling_for(target):
        assert (f"name={NAME}" in str(jax.make_jaxpr(project)(x[None], stacks, jnp.int32(0)))) == runs


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize(("inner", "outers"), [((2048,), ((32, 128), (4, 128))), ((32, 128), ((2048,),))])
def test_compiled_kernel_is_the_product(rows, inner, outers):
    depth = int(np.prod(inner))
    x, stacks = draw(rows, depth, [int(np.prod(outer)) for outer in outers], jnp.bfloat16)
    shaped = tuple(stack.reshape(3, *inner, *outer) for stack, outer in zip(stacks, outers, strict=True))
    run = jax.jit(partial(project, axes=len(inner), exact=True))
    for found, stack in zip(run(x.reshape(1, rows, *inner), shaped, jnp.int32(LAYER)), stacks, strict=True):
        wanted = EXACT(x.astype(jnp.float32), stack[LAYER].astype(jnp.float32))
        assert close(found.reshape(rows, -1), wanted, 1e-4)
