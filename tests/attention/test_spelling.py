"""`str` of a variant parses back to it, whatever its parameters are."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from attention.block_rules import BLOCK_RULES, BlockRule
from attention.call import names_of
from attention.eviction.policy import Policy
from attention.eviction.registry import POLICIES
from attention.layout import format_layout, make, parse_layout, parse_variant
from attention.parameters import Budget, Part, SpanRule, parameter_types, read_parameter, spelling
from attention.pattern import UNBOUNDED
from attention.routers import ROUTERS, Router
from attention.token_routed import Per
from attention.variant import Variant
from attention.variants import VARIANTS

whole = st.one_of(st.integers(0, 9), st.integers(0, UNBOUNDED))
spans = st.one_of(st.integers(1, UNBOUNDED), st.just(UNBOUNDED))
rules = st.one_of(
    spans.map(SpanRule),
    st.builds(SpanRule, st.integers(0, 5000), st.integers(1, 10**7).map(lambda share: Fraction(share, 10**7))),
    st.builds(SpanRule, st.integers(0, 5000), st.fractions(Fraction(1, 31), 1, max_denominator=31)),
)
OF_TYPE: dict[Any, st.SearchStrategy] = {
    int: whole,
    bool: st.booleans(),
    int | None: st.one_of(st.none(), whole),
    Budget: st.one_of(whole, st.floats(0, 1), st.fractions(0, 1, max_denominator=97)),
    float: st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    tuple[int, ...]: st.lists(spans, min_size=1, max_size=4).map(tuple),
    tuple[SpanRule, ...]: st.lists(rules, min_size=1, max_size=4).map(tuple),
}
OF_FIELD = {
    "per": st.sampled_from(Per.__args__), "key_heads": st.sampled_from((1, 2)),
    "value_heads": st.integers(1, 5000).map(lambda half: 2 * half),
    "stride": st.sampled_from((1, 2)), "topk": st.integers(2, 4 * UNBOUNDED),
    "pool": st.sampled_from((1, 2)), "dim": st.integers(1, 5000).map(lambda half: 2 * half),
}  # fmt: skip


@st.composite
def instances(draw, kind: type) -> Any:
    """One of that kind, its parameters and its parts' drawn."""
    values = {}
    for name, of in parameter_types(kind).items():
        if (names := names_of(of)) is not None:
            values[name] = draw(instances(draw(st.sampled_from(list(names.values())))))
        else:
            values[name] = draw(OF_FIELD[name] if name in OF_FIELD else OF_TYPE[of])
    try:
        return kind(**values)
    except ValueError:
        assume(False)


@pytest.mark.parametrize("kind", VARIANTS.values(), ids=lambda kind: kind.name)
def test_every_variant_parses_back(kind: type[Variant]):
    @given(instances(kind))
    def check(variant: Variant):
        assert parse_variant(str(variant)) == variant
        assert hash(parse_variant(str(variant))) == hash(variant)
        layout = (variant, make("full"), variant)
        assert parse_layout(format_layout(layout), 3) == layout

    check()


@pytest.mark.parametrize(
    "part", [*POLICIES.values(), *ROUTERS.values(), *BLOCK_RULES.values()], ids=lambda part: part.name
)
def test_parts_and_their_parameters_are_not_a_variants(part: type[Part]):
    """What is a part's own is written among the variant's parameters, so no name may be in both."""
    (base,) = (base for base in (Policy, Router, BlockRule) if issubclass(part, base))
    for variant in VARIANTS.values():
        if base in parameter_types(variant).values():
            assert not {f.name for f in dataclasses.fields(part)} & set(parameter_types(variant))


def test_shares_without_an_end_are_written_as_fractions():
    assert spelling((SpanRule(0, Fraction(1, 3)), SpanRule(64, Fraction(1, 4)))) == "1/3N|64+0.25N"


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false")])
def test_what_is_true_or_false_parses_back(value, text):
    assert spelling(value) == text and read_parameter(bool, text) is value
    with pytest.raises(ValueError, match="must be true or false, got '1'"):
        read_parameter(bool, "1")
