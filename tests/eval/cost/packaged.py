"""Rows for tests: those of the packaged table, predicted once, and made ones."""

from __future__ import annotations

import functools

from eval.cost.cards import CARDS
from eval.cost.published import Measured, published
from eval.cost.published_setup import Setup
from eval.cost.validation import Prediction, validate


@functools.cache
def predictions() -> tuple[Prediction, ...]:
    """Of every packaged row under every scheme."""
    return tuple(validate(published()))


def setup(**changed: object) -> Setup:
    base: dict[str, object] = {
        "backend": "ROCm", "stack": "rocm-9", "attention": "plain", "blas": "hipblaslt", "engine": "llama.cpp",
        "build": "llama.cpp 1", "micro_batch": 512, "cards": 1, "run": "a run",
    }  # fmt: skip
    return Setup(**(base | changed))  # type: ignore[arg-type]


def measured(model: str, tokens: int, depth: int = 0, rate: float = 1.0, **changed: object) -> Measured:
    """A row of a card and a setup of its own; `changed` are fields of its setup, `decode` and `server`."""
    flags = {name: bool(changed.pop(name)) for name in ("decode", "server") if name in changed}
    quant = str(changed.pop("quant", "Q4_K_M"))
    return Measured(
        model, model, quant, tokens, depth, rate, "a/source", "R9700", CARDS["r9700"], setup(**changed), **flags
    )
