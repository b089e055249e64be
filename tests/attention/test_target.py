"""Tests of the device that a program is compiled for."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, PartitionSpec, use_abstract_mesh

from attention.attend import choose_impl
from attention.eviction import h2o
from attention.kernels.target import compiling_for, current_target, is_gpu, is_nvidia
from attention.pattern import SpanPattern
from refmodel.kernels import choose_experts, grouped, norm_rope
from refmodel.parts import Norm, Rope
from refmodel.rope import rope_angles

H100 = "NVIDIA H100 80GB HBM3"
THREE = jax.ShapeDtypeStruct((3,), jnp.float32)  # no array is made inside a mesh of devices that are not there


def inside(kind: str, platform: str = "gpu"):
    """A mesh of devices that call themselves so."""
    device = AbstractDevice(device_kind=kind, num_cores=None, platform=platform)
    return use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=device))


def fake_device(kind: str, capability: str):
    return SimpleNamespace(platform="gpu", device_kind=kind, compute_capability=capability)


@pytest.mark.parametrize(
    ("name", "gpu", "nvidia"), [("gfx1201", True, False), ("sm_90", True, True), ("cpu", False, False)]
)
def test_what_a_name_says(name, gpu, nvidia):
    assert (is_gpu(name), is_nvidia(name)) == (gpu, nvidia)


def test_a_device_that_is_not_there_is_compiled_for_only_inside_the_context():
    here = current_target()
    with compiling_for("gfx1201"):
        assert current_target() == "gfx1201"
        with compiling_for("sm_90"):
            assert current_target() == "sm_90"
        assert current_target() == "gfx1201"
    assert current_target() == here
    assert is_gpu(here) == (jax.default_backend() == "gpu")


def test_the_default_device_is_the_one_compiled_for(monkeypatch):
    """Also where the first device is another."""
    (cpu, *_), gpu = jax.devices("cpu"), fake_device(H100, "9.0")
    monkeypatch.setattr(jax, "devices", lambda platform=None: [gpu] if platform is None else [cpu])
    assert current_target() == "sm_90"
    for chosen in ("cpu", cpu):
        with jax.default_device(chosen):
            assert current_target() == "cpu"


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (H100, "sm_90"), ("NVIDIA H100 PCIe", "sm_90"), ("NVIDIA H200", "sm_90"), ("NVIDIA GH200 480GB", "sm_90"),
        ("NVIDIA A100-SXM4-80GB", "sm_80"), ("Tesla V100-SXM2-16GB", "sm_70"), ("NVIDIA L4", "sm_89"),
        ("NVIDIA B200", "sm_100"), ("AMD Radeon AI PRO R9700", "gfx1201"), ("AMD Instinct MI300X", "gfx942"),
        ("AMD Radeon RX 9070 XT", "gfx1201"), ("gfx1201", "gfx1201"), ("sm_90", "sm_90"),
    ],
)  # fmt: skip
def test_a_mesh_of_products_is_known_by_their_names(kind, target):
    with inside(kind):
        assert current_target() == target


def test_a_mesh_of_devices_that_are_there_asks_them(monkeypatch):
    """Whatever they are called, and however many kinds there are."""
    devices = [fake_device("AMD Radeon Graphics", "gfx1201"), fake_device("NVIDIA Unheard-of 9", "12.1")]
    monkeypatch.setattr(jax, "devices", lambda platform=None: devices)
    for device, target in zip(devices, ("gfx1201", "sm_121"), strict=True):
        with inside(device.device_kind):
            assert current_target() == target


def test_a_mesh_of_other_devices_is_theirs():
    for kind, platform in (("cpu", "cpu"), ("TPU v5e", "tpu")):
        with inside(kind, platform):
            assert current_target() == platform


def test_a_mesh_of_the_devices_here_changes_nothing():
    here = current_target()
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        assert current_target() == here


def test_what_is_compiled_for_outlasts_a_mesh_and_keeps_its_axes():
    with compiling_for("gfx1201"), inside(H100):
        assert current_target() == "gfx1201"
    with inside(H100), compiling_for("gfx1201"):
        mesh = jax.sharding.get_abstract_mesh()
        assert current_target() == "gfx1201" and mesh.axis_names == ("x",)
        assert mesh.abstract_device.device_kind == "gfx1201"  # what Pallas asks
        jax.eval_shape(lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec()), THREE)


def test_another_target_is_another_program():
    """Also where both are asked for inside one mesh, which is all that a mesh alone could tell jit's cache."""
    seen = []

    @jax.jit
    def program(x):
        seen.append(current_target())
        return x + 1

    for target in ("sm_90", "gfx1201", "sm_90"):
        with compiling_for(target), inside(H100):
            program.trace(THREE)
    with inside("AMD Radeon AI PRO R9700"):
        program.trace(THREE)
    program.trace(THREE)
    assert seen == ["sm_90", "gfx1201", "gfx1201", current_target()]


def on_kernels() -> dict[str, bool]:
    """What each choice by target takes here: the kernels, or not."""
    q, k = (jax.ShapeDtypeStruct((1, 8192, n, 128), jnp.bfloat16) for n in (32, 4))
    x, scale, logits = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in [(1, 3, 2, 64), (64,), (5, 13)])
    positions = jax.ShapeDtypeStruct((1, 3), jnp.int32)

    def rotated(x, scale, positions):
        return norm_rope.norm_and_rope(x, scale, rope_angles(positions, 64, Rope(1e4)), norm=Norm(1e-6))

    rope = jax.make_jaxpr(rotated)(x, scale, positions)
    experts = jax.make_jaxpr(partial(choose_experts.choose_experts, k=3, renormalise=True))(logits)
    return {
        "attention": choose_impl(q, k, SpanPattern(), order="prompt") in ("mosaic", "pallas"),
        "experts": grouped.resolve_impl("auto", 2048, 768) == "pallas",
        "norm and rope": "pallas_call" in str(rope),
        "choice of experts": "pallas_call" in str(experts),
        "key mass": h2o.summing(q, k) is not h2o.key_mass,
    }


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", [H100, "NVIDIA H200", "AMD Radeon AI PRO R9700"])
def test_inside_a_mesh_of_gpus_every_kernel_is_taken(kind):
    with inside(kind):
        assert all(on_kernels().values()), on_kernels()
    if not is_gpu(current_target()):
        assert not any(on_kernels().values())


@pytest.mark.parametrize("kind", ["NVIDIA GeForce RTX 4090", "AMD Instinct MI355X", "Moore Threads S4000"])
def test_gpus_of_a_mesh_that_nobody_knows_are_refused(kind):
    """Kernels of a CPU would run there without a word."""
    with inside(kind):
        with pytest.raises(ValueError, match=f"the mesh has GPUs '{kind}', .* compiling_for; known: "):
            current_target()
        with compiling_for("sm_89"):
            assert current_target() == "sm_89"
