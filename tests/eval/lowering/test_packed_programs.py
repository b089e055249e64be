"""Steps with packed weights, as far as no compiler is needed: their arguments, their names, what is said of memory."""

from __future__ import annotations

import jax
import pytest

from eval.cost.cards import card
from eval.cost.flops.formats import weight_bytes
from eval.lowering import programs
from eval.lowering.compile import Compiled
from eval.lowering.predicted_prefills import predicted_prefills
from eval.lowering.programs import ModelProgram
from eval.lowering.report import Result, compile_table, memory_fit
from eval.lowering.target import target
from refmodel.packed.packed import Packed
from refmodel.presets import preset
from refmodel.tree import is_packed_leaf

PREFILL, DECODE, QUALITY = (
    ModelProgram(kind, "qwen3-30b-a3b", "5*swa(1024)+full", 16_384, weights="int4(32)")
    for kind in ("prefill", "decode", "quality")
)
GB = 10**9


def size(tree: object) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("program", [PREFILL, DECODE, QUALITY], ids=lambda one: one.kind)
@pytest.mark.parametrize("weights", ["", "int4(32)", "int8(128)", "fp8"])
def test_parameters_among_the_arguments_are_as_many_bytes_as_are_counted(program: ModelProgram, weights: str) -> None:
    asked = ModelProgram(program.kind, program.model, program.layout, program.tokens, weights=weights)
    _, (params, *_) = asked.build()
    assert size(params) == size(asked.params) == weight_bytes(asked.config, weights or "bf16")
    packed = [leaf for leaf in jax.tree.leaves(params, is_leaf=is_packed_leaf) if isinstance(leaf, Packed)]
    assert {leaf.coding.name for leaf in packed} == ({weights} if weights else set())


def test_a_program_with_packed_weights_is_another_program() -> None:
    bf16 = ModelProgram("prefill", "qwen3-30b-a3b", "5*swa(1024)+full", 16_384)
    assert PREFILL.title == f"{bf16.title}, weights int4(32)"
    assert programs.from_json(programs.to_json(PREFILL)) == PREFILL != bf16
    assert PREFILL.coding.name == "int4(32)" and bf16.coding is None
    with pytest.raises(ValueError, match="no format of weights 'int3'"):
        ModelProgram("prefill", "tiny-moe", weights="int3")
    with pytest.raises(ValueError, match=r"derivative of weights, which packed ones do not have: int4\(32\)"):
        ModelProgram("training", "tiny-moe", weights="int4(32)")


def compiled(program: ModelProgram, **memory: int) -> Compiled:
    return Compiled(program, target("gfx1201"), None, 1.0, 1.0, 1.0, memory, "", cached=False)


def test_what_fits_is_the_plan_itself_where_weights_are_packed() -> None:
    parts = {"argument_bytes": 17 * GB, "temp_bytes": 5 * GB, "output_bytes": 2 * GB, "alias_bytes": GB}
    fit = memory_fit(compiled(PREFILL, **parts))
    assert fit["peak_bytes"] == {"int4(32)": 23 * GB} and fit["fits"] == {"int4(32)": True}
    assert fit["card_bytes"] == card("r9700").memory_bytes
    parts["argument_bytes"] = 30 * GB
    assert memory_fit(compiled(PREFILL, **parts))["fits"] == {"int4(32)": False}
    bf16 = ModelProgram("prefill", "qwen3-30b-a3b", "", 16_384)
    both = memory_fit(compiled(bf16, **parts))["peak_bytes"]
    saved = weight_bytes(preset("qwen3-30b-a3b")) - weight_bytes(preset("qwen3-30b-a3b"), "4.5bit")
    assert both == {"bf16": 36 * GB, "4.5bit": 36 * GB - saved}


def test_the_note_on_quantised_weights_is_of_those_that_are_not_packed() -> None:
    parts = {"argument_bytes": 17 * GB, "temp_bytes": 5 * GB, "output_bytes": 2 * GB, "alias_bytes": GB}
    packed, plain = compiled(PREFILL, **parts), compiled(ModelProgram("prefill", "qwen3-30b-a3b"), **parts)
    notes = [compile_table([Result(one, (), ())]).note for one in (packed, plain)]
    assert notes == ["", "4.5bit: the same temporaries with quantised weights, by arithmetic."]


def test_a_prefill_is_predicted_with_the_weights_that_it_was_compiled_for() -> None:
    plain = ModelProgram("prefill", "qwen3-30b-a3b", "", 1024)
    packed = ModelProgram("prefill", "qwen3-30b-a3b", "", 1024, weights="int4(32)")
    made = predicted_prefills([Result(compiled(one), (), ()) for one in (plain, packed)], target("gfx1201"))
    assert [title.rpartition(", ")[2] for title in made] == ["bf16", "4.5bit", "int4(32)"]
    bf16, _, int4 = ({one.component: one.floor_ms for one in rows} for rows in made.values())
    assert int4["experts"] == pytest.approx(bf16["experts"] * 4.5 / 16)  # 64 rows an expert: it is read
    assert int4["attention"] == bf16["attention"] and int4["router"] == bf16["router"]
    assert predicted_prefills([Result(compiled(plain), (), ())], target("sm_90")) == {}
