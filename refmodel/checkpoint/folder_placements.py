"""Where each tensor of a Hugging Face folder goes, for reading and for writing."""

from __future__ import annotations

import sys
from collections.abc import Collection

from refmodel.checkpoint import delta_tensors
from refmodel.checkpoint.fused_experts import stored_experts
from refmodel.checkpoint.placement import Placement, placements
from refmodel.families.family import Family
from refmodel.parameters import Parameter
from refmodel.specification import ModelConfig


def placements_found(config: ModelConfig, family: Family, found: Collection[str], where: str) -> list[Placement]:
    """Those of a folder `where` the tensors `found` are, which hold parameters together or apart."""
    return _placements(config, family, found, len(found), where)


def placements_written(config: ModelConfig, family: Family) -> list[Placement]:
    """Those of a folder that is to be written, as the family's folders are."""
    fused = {f"model.layers.{layer}.{name}" for layer in range(config.n_layers) for name in family.fused}
    return _placements(config, family, fused, sys.maxsize, "")


def _placements(config: ModelConfig, family: Family, found: Collection[str], count: int, where: str) -> list[Placement]:
    experts = stored_experts(found, in_turns=family.experts_in_turns)

    def name(row: Parameter) -> str:
        return family.hf_names.get(row.path) or experts.name(row)

    return [_laid_out(experts.placed(one), config, found) for one in placements(config, name, count, where)]


def _laid_out(one: Placement, config: ModelConfig, found: Collection[str]) -> Placement:
    delta = delta_tensors.of_delta(config, one)
    return delta_tensors.from_safetensors(delta_tensors.together(one, delta, found)) if delta else one
