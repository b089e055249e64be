"""Which backend is taken, decided by shapes, promises and the target alone; and that one of another's own can be."""

from __future__ import annotations

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend, choose_impl
from attention.attended import Attended
from attention.backends.base import Backend, Operands, Request
from attention.backends.registry import BACKENDS, counted_as, impl_names
from attention.chosen import BlockChoice, Choice, TokenChoice
from attention.kernels.dense import attend_dense
from attention.kernels.target import compiling_for
from attention.layout import parse_variant
from attention.pattern import SpanPattern, Spans
from eval.measure.device_work import layer_work
from refmodel.presets import preset

ROUTED = Spans(jnp.full((1, 1, 331), 5), jnp.zeros(1, jnp.int32))
PATTERNS = (
    SpanPattern(), SpanPattern((7,)), SpanPattern((7,), (2,)), SpanPattern((3, 29)), ROUTED, BlockChoice(16, 2),
    TokenChoice(5),
)  # fmt: skip


def operands(tokens: int, keys: int, head_dim: int, dtype=jnp.bfloat16):
    return tuple(jax.ShapeDtypeStruct((1, t, n, head_dim), dtype) for t, n in ((tokens, 6), (keys, 2)))


def taken(target, tokens, keys, head_dim, dtype, pattern, order, need_lse) -> str:
    """What `auto` takes, in one table."""
    gpu, short = target != "cpu", dtype != jnp.float32
    spans, chosen = isinstance(pattern, SpanPattern), isinstance(pattern, Choice)
    one_window = spans and (pattern == SpanPattern() or pattern == SpanPattern((7,)))
    if gpu and head_dim in (16, 64, 128) and tokens == 1 and not chosen:
        return "decode"
    if tokens * keys <= 2**16:
        return "dense"
    if target == "sm_90" and tokens >= 128 and not chosen and short and head_dim in (64, 128) and order != "any":
        return "mosaic"
    plain = one_window and order == "prompt" and not need_lse and tokens == keys
    if target.startswith("sm_") and plain and short and head_dim in (64, 128):
        return "cudnn"
    one_by_one = isinstance(pattern, TokenChoice)
    return "pallas" if gpu and head_dim in (16, 32, 64, 128, 256) and not one_by_one else "blockwise"


@pytest.mark.parametrize("target", ["cpu", "sm_80", "sm_90", "gfx1201"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_auto_takes_the_first_that_pays_and_can(target, dtype):
    shapes = [(1, 4096), (100, 1000), (331, 331), (131, 7919)]
    with compiling_for(target):
        for (tokens, keys), head_dim, pattern, order, need_lse in product(
            shapes, (12, 16, 64, 128), PATTERNS, ("any", "keys", "prompt"), (False, True)
        ):
            q, k = operands(tokens, keys, head_dim, dtype)
            found = choose_impl(q, k, pattern, order=order, need_lse=need_lse)
            case = target, tokens, keys, head_dim, dtype, pattern, order, need_lse
            assert found == taken(*case), case


def test_kernels_are_not_taken_for_operands_of_two_dtypes():
    q, k = operands(331, 331, 64)[0], operands(331, 331, 64, jnp.float32)[1]
    with compiling_for("sm_90"):
        assert choose_impl(q, k, SpanPattern(), order="prompt") == "blockwise"
        with pytest.raises(ValueError, match="pallas takes q, k and v of one dtype, got bfloat16 and float32"):
            choose_impl(q, k, SpanPattern(), impl="pallas")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the refusals are those of a CPU")
@pytest.mark.parametrize("impl", ["pallas", "decode", "mosaic", "cudnn", "tokamax"])
def test_a_named_implementation_never_falls_back(impl):
    with pytest.raises(ValueError, match=f"attention by {impl}: {impl} runs on"):
        choose_impl(*operands(331, 331, 64), SpanPattern(), impl=impl, order="prompt")


def test_an_unknown_name_and_an_unknown_promise_are_refused():
    assert impl_names() == ("auto", *BACKENDS) and {"dense", "blockwise", "pallas", "decode"} < BACKENDS.keys()
    q = jnp.ones((1, 3, 2, 8))
    call = q, q, q, jnp.arange(3)[None], jnp.arange(3)[None, None], SpanPattern()
    for refused in (lambda: attend(*call, impl="flash"), lambda: counted_as("flash", 3, 3)):
        with pytest.raises(
            ValueError, match=r"no attention implementation 'flash'.*accepted: auto, dense, blockwise, "
        ):
            refused()
    for order in ("sorted", True, False):  # of which each could be taken for a promise
        with pytest.raises(ValueError, match=f"no order {order!r} of positions; accepted: any, keys, prompt"):
            attend(*call, order=order)


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        (ROUTED, {"order": "prompt"}, "cudnn takes no span per query"),
        (SpanPattern(), {}, "cudnn takes the first step of a prompt"),
        (SpanPattern(), {"order": "prompt", "need_lse": True}, "cudnn gives no log-sum-exp"),
        (BlockChoice(16, 2), {"order": "prompt"}, "cudnn takes spans, not blocks"),
        (TokenChoice(2), {"impl": "decode"}, "decode takes spans, not keys"),
        (TokenChoice(2), {"impl": "pallas"}, "pallas takes spans and blocks, not keys"),
        (BlockChoice(16, 2), {"impl": "mosaic", "order": "prompt"}, "mosaic takes spans, not blocks"),
    ],
)
def test_refusals_name_the_reason(pattern, options, message):
    options = {"impl": "cudnn", **options}
    with compiling_for("sm_90"), pytest.raises(ValueError, match=f"attention by {options['impl']}: {message}"):
        choose_impl(*operands(331, 331, 64), pattern, **options)


class Toy(Backend):
    """A backend of somebody's own: the oracle, for one head size."""

    name = "toy"

    def cannot(self, request: Request) -> str | None:
        return None if request.q_btnh.shape[-1] == 16 else "toy takes heads of 16"

    def run(self, operands: Operands, *, need_lse: bool) -> Attended:
        return Attended(*attend_dense(*operands))


class First(Toy):
    """The same, before all others."""

    name = "first"
    place = -1

    def executed_pairs(self, pattern, n_heads, n_kv_heads, q_pos_t, kv_pos_s) -> int:
        return 7


def test_a_backend_of_ones_own_is_named_counted_and_refused_like_any():
    config, full = preset("tiny-dense"), parse_variant("full")
    position = np.arange(331)
    with BACKENDS.temporarily(Toy()):
        assert impl_names()[-1] == "toy" and choose_impl(*operands(331, 331, 16), SpanPattern()) == "blockwise"
        work = layer_work(config, full, 37, jnp.dtype("float32"), "toy")
        assert work.impls == ("toy",) and work.visited_pairs is None
        walked = BACKENDS["blockwise"].executed_pairs(SpanPattern(), 6, 2, position, position)
        assert counted_as("toy", 331, 331).executed_pairs(SpanPattern(), 6, 2, position, position) == walked
        with pytest.raises(ValueError, match="attention by toy: toy takes heads of 16"):
            choose_impl(*operands(331, 331, 64), SpanPattern(), impl="toy")
    assert "toy" not in BACKENDS


def test_a_place_lets_auto_find_it_and_counts_follow():
    with BACKENDS.temporarily(First()):
        assert choose_impl(*operands(331, 331, 16), SpanPattern()) == "first"
        assert choose_impl(*operands(331, 331, 64), SpanPattern()) == "blockwise"
        assert BACKENDS["first"].counts == "not told"
