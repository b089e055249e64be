"""What is compiled: the steps of the model and its kernels, by name, so that another process can build them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, get_args

import jax
import jax.numpy as jnp
import optax

from attention.attend import attend
from eval.cost.flops.model_program import schedule_program
from eval.lowering.dtypes import dtype_of
from eval.lowering.kernel_programs import KernelProgram
from eval.quality.divergence import compare_tokens, final_hidden
from refmodel.cache import init_cache
from refmodel.model import step
from refmodel.packed.coding import Coding
from refmodel.packed.codings import parse_coding
from refmodel.presets import preset
from refmodel.schedule import decode_steps, prefill_steps
from refmodel.specification import ModelConfig
from refmodel.tree import Params, abstract_params


@dataclass(frozen=True)
class ModelProgram:
    """A step of the model by name and parameters, so that another process can build it.

    Attributes:
        kind: one of `KINDS`.
        model, layout: a preset, and its attention; an empty layout means the preset's own.
        tokens: of the prompt; of the cache before a decode step.
        dtype: of weights and cache.
        impl: of attention.
        weights: the coding in which parameters stay packed; empty for none, all in `dtype`.
    """

    kind: str
    model: str
    layout: str = ""
    tokens: int = 1024
    dtype: str = "bf16"
    impl: str = "auto"
    weights: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no program {self.kind!r}; accepted: {', '.join(KINDS)}")
        dtype_of(self.dtype)
        if self.coding and self.kind == "training":
            raise ValueError(f"training takes the derivative of weights, which packed ones do not have: {self.weights}")

    @property
    def coding(self) -> Coding | None:
        """Of the weights.  Raises `ValueError` for a name that is none's."""
        return parse_coding(self.weights) if self.weights else None

    @property
    def config(self) -> ModelConfig:
        config = preset(self.model)
        return config.with_layout(self.layout) if self.layout else config

    @property
    def title(self) -> str:
        packed = f", weights {self.weights}" if self.weights else ""
        return f"{self.kind} of {self.model} {self.layout or 'as it is'} {self.tokens:,} tokens {self.dtype}{packed}"

    @property
    def params(self) -> Params:
        """The parameters' shapes."""
        return abstract_params(self.config, dtype_of(self.dtype), self.coding)

    def build(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function, and its arguments as shapes."""
        return KINDS[self.kind](self)


def _prefill(program: ModelProgram) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return schedule_program(
        program.config, prefill_steps(program.tokens), impl=program.impl, dtype=dtype_of(program.dtype),
        coding=program.coding,
    )  # fmt: skip


def _decode(program: ModelProgram) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return schedule_program(
        program.config, decode_steps(program.tokens), impl=program.impl, dtype=dtype_of(program.dtype),
        coding=program.coding,
    )  # fmt: skip


def _quality(program: ModelProgram) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Hidden states of one text, and the comparison of its predictions with those of full attention."""
    config, width = program.config, min(program.tokens - 1, 256)

    def quality(params: Params, tokens_t: jax.Array, reference_td: jax.Array) -> Any:
        variant_td = final_hidden(config, params, tokens_t)
        return compare_tokens(config, params, tokens_t[1 : width + 1], reference_td[:width], variant_td[:width])

    reference = jax.ShapeDtypeStruct((program.tokens, config.d_model), dtype_of(program.dtype))
    tokens = jax.ShapeDtypeStruct((program.tokens,), jnp.int32)
    return quality, (program.params, tokens, reference)


def _training(program: ModelProgram) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Loss and gradient of the cross entropy of the next token.

    Attention is dense: the loops of the other paths' way back are as long as positions say, which no count follows.
    """
    config = program.config.at_length(program.tokens)

    def loss(params: Params, tokens_bt: jax.Array) -> jax.Array:
        cache = init_cache(config, 1, program.tokens, dtype_of(program.dtype))
        logits, _ = step(config, params, cache, tokens_bt, logits="all", attend=partial(attend, impl="dense"))
        targets = tokens_bt[:, 1:]
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits[:, :-1], targets).mean()

    tokens = jax.ShapeDtypeStruct((1, program.tokens), jnp.int32)
    return jax.value_and_grad(loss), (program.params, tokens)


KINDS: Final = MappingProxyType({"prefill": _prefill, "decode": _decode, "quality": _quality, "training": _training})
"""Builders by the name of the program."""

Program = ModelProgram | KernelProgram


def to_json(program: Program) -> dict[str, Any]:
    """A program as plain data; `from_json` gives it back."""
    return {"type": type(program).__name__, **asdict(program)}


def from_json(values: dict[str, Any]) -> Program:
    """The program that `to_json` wrote."""
    types = {one.__name__: one for one in (ModelProgram, *get_args(KernelProgram))}
    return types[values["type"]](**{name: value for name, value in values.items() if name != "type"})
