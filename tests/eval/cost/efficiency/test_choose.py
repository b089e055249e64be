"""The scales are those that predict left-out rows best."""

from __future__ import annotations

import dataclasses

import pytest

from eval.cost.efficiency.choose import LEAST_GAIN, SCALES, neighbours, score
from eval.cost.efficiency.decode import DECODE
from eval.cost.efficiency.effects import Effect
from eval.cost.efficiency.model import TimeModel
from eval.cost.efficiency.prompts import ROCM, VULKAN
from eval.cost.published import Measured, published
from eval.cost.validation import parts


def rows_of(model: TimeModel) -> list[Measured]:
    return next(part for _, one, part in parts(published()) if one is model)


def without(model: TimeModel, term: str) -> TimeModel:
    """All rows share the term's efficiency."""
    return dataclasses.replace(model, effects={**model.effects, term: (Effect(1.0),)})


@pytest.mark.parametrize("model", [ROCM, VULKAN, DECODE])
def test_scales_are_half_decades(model: TimeModel) -> None:
    assert all(effect.scale in SCALES[1:] for effects in model.effects.values() for effect in effects)


def test_neighbours_move_one_scale() -> None:
    moved = dict(neighbours(VULKAN))
    assert len(moved) > 20
    for other in moved.values():
        pairs = [
            (old, new)
            for term in VULKAN.effects
            for old, new in zip(VULKAN.effects[term], other.effects[term], strict=True)
        ]
        ((old, new),) = [(old, new) for old, new in pairs if old != new]
        assert dataclasses.replace(old, scale=new.scale) == new and (old.same or old.slope)


@pytest.mark.parametrize(("model", "terms"), [(VULKAN, ("linear", "attention")), (DECODE, ("weights", "cache"))])
def test_efficiencies_that_rows_share_in_part_predict_better_than_one_for_all(
    model: TimeModel, terms: tuple[str, ...]
) -> None:
    rows = rows_of(model)
    best = score(model, rows)
    assert all(score(without(model, term), rows) > best + 0.1 for term in terms)


@pytest.mark.parametrize(
    "model", [pytest.param(VULKAN, marks=pytest.mark.long), pytest.param(DECODE, marks=pytest.mark.slow)]
)
def test_no_neighbour_is_better(model: TimeModel) -> None:
    rows = rows_of(model)
    best = score(model, rows)
    better = [(words, score(other, rows) - best) for words, other in neighbours(model)]
    assert [one for one in better if one[1] < -2 * LEAST_GAIN] == []
