"""Annotations of arrays, checked: `check_shapes` before anything imports the modules.  Users run them unchecked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

CHECKED: Final = (
    "attention.kernels.block_routed",
    "attention.kernels.blockwise",
    "attention.kernels.choose_delta_rule",
    "attention.kernels.chosen_tokens",
    "attention.kernels.delta_rule",
    "attention.kernels.dense",
    "attention.kernels.first_best",
    "attention.kernels.index_choice",
    "attention.kernels.left_out",
    "attention.kernels.rule_choice",
    "attention.key_weights",
    "attention.mask",
    "attention.sink_logits",
    "eval.quality.recall",
    "refmodel.ends",
    "refmodel.feed_forward",
    "refmodel.gating",
    "refmodel.kernels.choose_experts",
    "refmodel.kernels.grouped",
    "refmodel.kernels.norm_rope",
    "refmodel.kernels.projection",
    "refmodel.model",
    "refmodel.norm",
    "refmodel.rope",
    "refmodel.train",
)
"""Modules of public array functions.  `attention.attend` is not among them: it refuses misfits itself, in words."""


def check_shapes() -> None:
    """From here on, the modules in `CHECKED` are imported with checks; axes of one name are equal within a call."""
    install_import_hook(CHECKED, f"{__name__}.check")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose every call holds arrays to their shapes and dtypes; other annotations are mypy's."""
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if has_shapes(hint)}
    return beartype(function)


def has_shapes(hint: Any) -> bool:
    """Whether some part of an annotation is jaxtyping's."""
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(map(has_shapes, get_args(hint)))
