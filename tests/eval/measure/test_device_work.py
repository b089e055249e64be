"""What a layer's attention says it ran: here with the kernel interpreted, so that no GPU is needed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import jax.numpy as jnp
import pytest

from attention.attended import Attended
from attention.backends.base import Operands, Request
from attention.backends.pallas import Pallas
from attention.backends.registry import BACKENDS
from attention.kernels.block_routed import BlockChoice
from attention.kernels.pallas_blocks import attend_pallas_blocks
from attention.kernels.pallas_choice import PARTS
from attention.kernels.pallas_spans import attend_pallas_spans
from attention.kernels.target import compiling_for
from attention.kernels.tiles import AttentionTiles
from attention.layout import parse_variant
from attention.token_routed import Routed
from eval.measure import timing
from eval.measure.device_work import Work, layer_work, selection_flops
from refmodel.presets import preset
from tests.gpu import TRITON_IS_LEAVING

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_compile")]

CONFIG, TOKENS = preset("tiny-dense"), 331


class Interpreted(Pallas):
    """The kernels as plain JAX, which any device runs."""

    name = "interpreted"
    place = None

    def cannot(self, request: Request) -> None:
        return None

    def run(self, operands: Operands, *, need_lse: bool) -> Attended:
        kernel = attend_pallas_blocks if isinstance(operands.pattern, BlockChoice) else attend_pallas_spans
        return kernel(*operands, return_lse=need_lse, interpret=True, tiles=AttentionTiles(16, 16, 4, 1))


@pytest.mark.parametrize(
    "text",
    ["full", "swa(29)", "routed(5|full, router=periodic)", "evict(keydiff, budget=64, chunk=64)", "moba(29, topk=2)"],
)
def test_visited_pairs_hold_the_useful_ones(text):
    variant = parse_variant(text)
    with BACKENDS.temporarily(Interpreted()):
        work = layer_work(CONFIG, variant, TOKENS, jnp.dtype("float32"), "interpreted")
    assert work.impls == ("interpreted",)
    assert variant.useful(CONFIG.heads, TOKENS).pairs <= work.visited_pairs < CONFIG.n_heads * (TOKENS + 32) ** 2


def test_the_blocks_of_a_choice_lie_between_what_is_asked_for_and_what_is_provided():
    variant = parse_variant("moba(29)")
    work = layer_work(CONFIG, variant, TOKENS, jnp.dtype("float32"), "blockwise")
    useful, executed = (count(CONFIG.heads, TOKENS).pairs for count in (variant.useful, variant.executed))
    assert useful < work.visited_pairs <= executed


def test_a_layer_without_room_is_refused(monkeypatch):
    monkeypatch.setattr(timing, "free_device_bytes", lambda: 1)
    with pytest.raises(MemoryError, match="beside its arguments"):
        layer_work(CONFIG, parse_variant("full"), 3 * TOKENS, jnp.dtype("float32"), "dense")  # not remembered


@pytest.mark.parametrize("tokens", [TOKENS, 512 + 7])
def test_a_layer_of_two_backends_tells_the_pairs_of_both(tokens):
    """The short piece at the end is dense, and the others are walked: as the closed form has it."""
    variant = parse_variant("evict(keydiff, budget=256, chunk=256)")
    work = layer_work(CONFIG, variant, tokens, jnp.dtype("float32"))
    assert set(work.impls) == {"blockwise", "dense"}
    assert work.visited_pairs == variant.executed(CONFIG.heads, tokens).pairs


def test_dense_computes_every_pair():
    work = layer_work(CONFIG, parse_variant("full"), TOKENS, jnp.dtype("float32"), "dense")
    assert work == Work(("dense",), CONFIG.n_heads * TOKENS**2)


@pytest.mark.parametrize(
    "text",
    ["full", "moba(29, topk=3)", "routed(5|full, router=linear)", *(
        f"evict({policy}, budget=64, chunk=64)" for policy in ("h2o", "snapkv", "adakv", "streaming")
    )],
)  # fmt: skip
def test_what_choosing_costs_here_is_the_closed_form(text):
    variant = parse_variant(text)
    closed = variant.at_length(TOKENS).executed(CONFIG.heads, TOKENS).selection_flops
    assert selection_flops(CONFIG, variant, TOKENS, jnp.dtype("float32")) == closed


def test_what_choosing_costs_on_a_gpu_is_what_its_kernels_pad_to():
    heads, bf16, count = CONFIG.heads, jnp.dtype("bfloat16"), selection_flops
    rows = heads.n_kv_heads * -(-TOKENS * heads.n_heads // heads.n_kv_heads // 128) * 128
    h2o = parse_variant("evict(h2o, budget=300, chunk=300)")
    with compiling_for("gfx1201"):
        assert count(CONFIG, parse_variant("moba(29, topk=3)"), TOKENS, bf16) == (
            PARTS * 2 * heads.head_dim * rows * 16  # 12 blocks as 16
        )
        on_kernel = count(CONFIG, h2o, TOKENS, bf16)
    scanned = h2o.executed(heads, TOKENS).selection_flops
    assert scanned < on_kernel < 1.5 * scanned


def test_other_backends_are_asked_anew():
    variant, dtype = parse_variant("swa(31)"), jnp.dtype("float32")

    class Eager(Interpreted):
        name = "eager"
        place = -1

    before = layer_work(CONFIG, variant, TOKENS, dtype).impls
    with BACKENDS.temporarily(Eager()):
        assert layer_work(CONFIG, variant, TOKENS, dtype).impls == ("eager",)
    assert layer_work(CONFIG, variant, TOKENS, dtype).impls == before == ("blockwise",)


@dataclass(frozen=True)
class RoutedAndCapped(Routed):
    """Spans that a router chooses, and scores that are capped in them."""

    name: ClassVar[str] = "routed_and_capped"

    def score(self, scores, q_pos, kv_pos, head):
        return 3 * jnp.tanh(scores / 3)


def test_a_variant_that_changes_scores_chooses_at_the_same_cost():
    plain = parse_variant("routed(5|full)")
    capped = RoutedAndCapped(**{field.name: getattr(plain, field.name) for field in fields(plain)})
    counts = [selection_flops(CONFIG, one, TOKENS, jnp.dtype("float32")) for one in (plain, capped)]
    assert counts[0] == counts[1] > 0
