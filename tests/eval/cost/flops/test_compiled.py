"""The count of compiled programs against the traced count of the same function."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from eval.cost.flops.closed_form import steps_flops
from eval.cost.flops.compiled import count_hlo
from eval.cost.flops.cross_check import cross_check
from eval.cost.flops.traced import count_flops
from refmodel.presets import preset
from refmodel.schedule import Step, decode_steps
from tests.refmodel.test_sink_layers import CONFIG as WITH_SINKS
from tests.refmodel.test_sink_layers import EXPERTS

SQUARE = jax.ShapeDtypeStruct((40, 40), jnp.float32)
TALL = jax.ShapeDtypeStruct((3, 40, 56), jnp.float32)


def _scan(x):
    return lax.scan(lambda c, _: (jnp.tanh(c @ c), None), x, None, length=11)[0]


PROGRAMS = {
    "dot": lambda x, y: jnp.tanh(x @ x) + 1,
    "batched": lambda x, y: jnp.einsum("ij,bjk->bik", x, y),
    "scan": lambda x, y: _scan(x),
    "nested scan": lambda x, y: lax.scan(lambda c, _: (_scan(c), None), x, None, length=3)[0],
    "grad": lambda x, y: jax.grad(lambda x: jnp.sin(_scan(x)).sum())(x),
    "cond": lambda x, y: lax.cond(x[0, 0] > 0, lambda x: jnp.sin(x @ x) @ x, lambda x: x @ x, x),
    "convolution": lambda x, y: lax.conv_general_dilated(
        y, y[:2, :4, :].reshape(2, 56, 4), (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")),
}  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_compiled_equals_traced(program: str) -> None:
    function = PROGRAMS[program]
    text = jax.jit(function).lower(SQUARE, TALL).compile().as_text()
    assert count_hlo(text).total == count_flops(function, SQUARE, TALL).total > 0


def test_a_loop_of_unknown_length_is_an_error_that_names_it() -> None:
    def function(x):
        with jax.named_scope("halving"):
            return lax.while_loop(lambda x: x.sum() > 1, lambda x: jnp.tanh(x @ x), x)

    with pytest.raises(ValueError, match=r"halving.* in a loop of unknown length"):
        count_hlo(jax.jit(function).lower(SQUARE).compile().as_text())


GPU_CALLS = """HloModule m
ENTRY %main (a: bf16[8,16], b: bf16[16,32]) -> bf16[8,32] {
  %a = bf16[8,16]{1,0} parameter(0)
  %b = bf16[16,32]{1,0} parameter(1)
  %c = (bf16[8,32]{1,0}, s8[64]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", metadata={op_name="x/attn/dot"}, backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %t = bf16[8,32]{1,0} custom-call(%a), custom_call_target="__gpu$xla.gpu.triton"
  ROOT %g = bf16[8,32]{1,0} get-tuple-element(%c), index=0
}
"""  # noqa: E501


def test_library_products_are_read_and_other_calls_are_listed() -> None:
    count = count_hlo(GPU_CALLS)
    assert count.by_scope == {"x/attn/dot": 2 * 8 * 32 * 16}
    assert count.unseen_calls == ("__gpu$xla.gpu.triton",)
    with pytest.raises(ValueError, match="no ENTRY"):
        count_hlo("not a program")


@pytest.mark.parametrize("step", [Step(300), decode_steps(300)[0]], ids=["prefill", "decode"])
def test_three_ways_agree_on_sinks_and_biases(step: Step) -> None:
    """An extra column of a softmax is no pair, and what is added multiplies nothing."""
    config = WITH_SINKS.with_layout("swa(5)+full")
    without = config.with_each_layer(sink_logits=False, feed_forward=dataclasses.replace(EXPERTS, bias=False))
    assert cross_check(config, (step,)).faults == []
    assert steps_flops(config, (step,)) == steps_flops(without, (step,))


@pytest.mark.parametrize("step", [Step(600), Step(300, 300), decode_steps(700)[0]], ids=["prefill", "chunk", "decode"])
@pytest.mark.parametrize(
    ("name", "layout"), [("tiny-dense", "swa(5, sinks=2)+full"), ("tiny-moe", "full"), ("tiny-moe", "swa(100)")]
)
def test_three_ways_agree_on_the_real_model(name: str, layout: str, step: Step) -> None:
    config = preset(name).with_layout(layout)
    check = cross_check(config, (step,))
    assert check.faults == []
    assert check.executed == check.traced == steps_flops(config, (step,), count="executed")
    lost = sum(check.rewritten.values())
    assert abs(lost) <= 1e-3 * sum(check.traced.values()), check.rewritten


def test_disagreement_is_a_fault() -> None:
    check = cross_check(preset("tiny-dense"), (Step(64),), compile_too=False)
    assert check.faults == [] and check.compiled is None and check.rewritten == {}
    worse = type(check)(check.useful, check.executed | {"head": 1}, check.traced, {"head": 1}, "dearest")
    assert [fault.partition(":")[0] for fault in worse.faults] == ["head", "total"]
