"""Experts in a Hugging Face folder: one by one, or fused into one tensor a layer, and where a projection lies in it.

halves      gate_up_proj [E, 2F, D], gate above up; down_proj [E, D, F]            (transformers' Qwen3-MoE)
in turns    gate_up_proj [E, D, 2F], columns gate, up, gate, ...; down_proj [E, F, D]; biases alike     (gpt-oss)
packed      the same as rows of MXFP4: gate_up_proj_blocks [E, 2F, D], gate, up, gate, ...; down_proj_blocks
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from refmodel.checkpoint.placement import Placement
from refmodel.parameters import Parameter

_GATE_UP: Final = "gate_up_proj"
_FUSED: Final[Mapping[str, str]] = {"ffn.gate": _GATE_UP, "ffn.up": _GATE_UP, "ffn.down": "down_proj"}


@dataclass(frozen=True)
class StoredExperts:
    """What the tensors are called and how a leaf is taken out of one.

    Attributes:
        ending: of the tensors of matrices, after "gate_up_proj" and "down_proj"; None where experts are one by one.
        take: from the name of a leaf ("gate", "down_bias") and its placement as if it had a tensor of its own, the
            placement in the tensor that there is.
    """

    ending: str | None = None
    take: Callable[[str, Placement], Placement] = lambda leaf, one: one

    def name(self, row: Parameter) -> str:
        """Of the row's tensor, as `refmodel.checkpoint.placement.placements` asks for it."""
        fused = self.ending is not None and row.copies > 1 and row.path in _FUSED
        return f"{row.hf.partition('{expert}')[0]}{_FUSED[row.path]}{self.ending}" if fused else row.hf

    def placed(self, one: Placement) -> Placement:
        of_experts = one.row.axes[:1] == ("experts",) and len(one.shape) > 1
        return self.take(one.leaf.rpartition(".")[2], one) if of_experts else one


def stored_experts(found: Collection[str], *, in_turns: bool) -> StoredExperts:
    """How the tensors `found` hold experts; `in_turns` is what their family says."""
    if in_turns:
        packed = any(name.endswith(f"{_GATE_UP}_blocks") for name in found)
        return StoredExperts("_blocks", _taking_turns) if packed else StoredExperts("", _transposed)
    fused = any(name.endswith(f".experts.{_GATE_UP}") for name in found)
    return StoredExperts("", halved) if fused else StoredExperts()


def halved(leaf: str, one: Placement) -> Placement:
    """`gate` or `up` in the tensor [E, 2F, D] that holds the one above the other."""
    if leaf not in ("gate", "up"):
        return one
    experts, width, d_model = one.shape
    half = slice(0, width) if leaf == "gate" else slice(width, 2 * width)
    return dataclasses.replace(one, shape=(experts, 2 * width, d_model), pick=lambda stored: stored[:, half])


def _taking_turns(leaf: str, one: Placement) -> Placement:
    """Every other row; of biases every other number."""
    if leaf.removesuffix("_bias") not in ("gate", "up"):
        return one
    experts, width, *rest = one.shape
    turn = slice(int(leaf.startswith("up")), None, 2)
    return dataclasses.replace(one, shape=(experts, 2 * width, *rest), pick=lambda stored: stored[:, turn])


def _transposed(leaf: str, one: Placement) -> Placement:
    """The same of matrices [E, in, out]."""
    taken = _taking_turns(leaf, one)
    if leaf.endswith("_bias"):
        return taken
    experts, out, into = taken.shape

    def pick(stored: np.ndarray) -> np.ndarray:
        return taken.pick(stored.swapaxes(1, 2))

    return dataclasses.replace(taken, shape=(experts, into, out), pick=pick, picks_rows=False)
