"""The sweep of a model where little is said of it: which layouts, which lengths, how much text."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import jax

from attention import checks
from attention.full import FULL
from attention.layout import LayoutSpec
from eval.cost.fitting_layouts import fitting_layouts
from eval.measure.named_layout import named_layouts
from eval.measure.plan import Sweep, Text
from eval.measure.refuse_impl import refuse_impl
from eval.measure.timing import Budget
from refmodel.default_model import default_text, text_sha256
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from refmodel.source import Model

LAYOUTS = (
    FULL, "5*swa(1024)+full", "swa(1024)", "swa(1020,sinks=4)", "spans(256|1024|full,sinks=4)",
    "routed(256|full,router=periodic)", "moba(256,topk=4)",
    *(f"evict({policy},budget=1024,chunk=512)" for policy in ("streaming", "snapkv", "tova", "keydiff", "h2o")),
)  # fmt: skip
"""Compared where none are named, as far as they fit the model."""

ON_GPU = (
    FULL, "5*swa(1024)+full", "swa(1024)", "swa(1020,sinks=4)", "routed(512|512|4096|full,router=periodic)",
    "evict(keydiff,budget=4096,chunk=4096)",
)  # fmt: skip
"""The same on a GPU."""

LENGTHS = (1536, 2304, 4608, 8192)
"""From the first on every one of `LAYOUTS` has settled (budget + chunk of the evictions), so that a crossover is fitted
to all of them; the last reaches beyond the crossover of full attention."""

WHOLE_LENGTHS = (4608,)
"""Where neither layouts nor lengths are named, on a CPU, whole prefills of all are timed at these, of full attention at
shorter ones too: as long as eight minutes of two cores allow, for at a short prompt layouts differ by less than their
times' noise."""

GPU_LENGTHS = tuple(1024 << k for k in range(7))

QUALITY_TOKENS = 3072


def usual_sweep(
    model: Model,
    layouts: Sequence[LayoutSpec] | None = None,
    tokens: Sequence[int | str] | None = None,
    *,
    whole: Sequence[LayoutSpec] | None = None,
    quality_tokens: int | str | None = None,
    text: str | None = None,
    text_name: str = "text",
    impl: str = "auto",
    budget: Budget = Budget(),
    layers_apart: bool = False,
    batch: int = 1,
) -> Sweep:
    """What `prefillwall compare` and `eval.compare` measure; None takes the default of the device and the model.

    Raises `ValueError` in one line for layouts, lengths or a text that do not go together, and for an implementation
    that cannot run full attention of this model here.
    """
    for name, given in (("layouts", layouts), ("tokens", tokens), ("whole", whole)):
        if given is not None and (isinstance(given, str) or not isinstance(given, Sequence)):
            raise ValueError(f"{name} is a list, got {given!r}")
        if given is not None and name != "whole" and not given:
            raise ValueError(f"{name} is empty; None takes the usual ones")
    asked = [checks.token_count("tokens", one) for one in tokens or ()]
    if quality_tokens is not None:
        quality_tokens = checks.token_count("quality_tokens", quality_tokens, 0)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"text must be text, got {text!r}")
    if text is not None and model.tokenizer is None:
        raise ValueError(f"{model.config.name} with {model.weights} weights has no tokenizer to read a text with")
    for head_dim in sorted({layer.heads.head_dim for layer in model.config.layers if layer.mixer}):
        refuse_impl(impl, model.params["embed"]["embedding"].dtype, head_dim)
    on_gpu = jax.default_backend() == "gpu"
    lengths = tuple(sorted(set(asked or (GPU_LENGTHS if on_gpu else LENGTHS))))
    usual = ON_GPU if on_gpu else LAYOUTS
    left_out = {} if layouts else _left_out(model.config, usual, lengths[0])
    compared = layouts or [layout for layout in usual if layout not in left_out]
    whole_lengths = None if on_gpu or asked or layouts or whole is not None else WHOLE_LENGTHS
    if whole is None:
        whole = compared
    words = default_text() if text is None else text
    read = text_tokens(model, words, "pydoc_data.topics" if text is None else text_name, text_sha256(words))
    if quality_tokens is None:
        readable_tokens = min(QUALITY_TOKENS, len(read.tokens), model.config.max_positions)
        quality_tokens = readable_tokens if model.tokenizer is not None and readable_tokens > 1 else 0
    if quality_tokens and model.tokenizer is None and model.weights == "checkpoint":
        raise ValueError(f"{model.config.name} has no tokenizer to read a text with: leave quality out, or add one")
    return Sweep(
        model=model,
        text=read,
        layouts=named_layouts(compared, model.config),
        whole=named_layouts(whole, model.config),
        lengths=lengths,
        quality_tokens=quality_tokens,
        budget=budget,
        impl=impl,
        layers_apart=layers_apart,
        whole_lengths=whole_lengths,
        batch=batch,
        left_out=MappingProxyType(left_out),
    )


def _left_out(config: ModelConfig, layouts: Sequence[str], shortest_tokens: int) -> dict[str, str]:
    """Those whose spans do not suit the model's heads or whose chunks do not suit the prompts; each with its fault."""
    fitting, others = fitting_layouts(config, layouts)
    found = dict.fromkeys(others, f"the heads of {config.name}")
    for layout, model in fitting.items():
        try:
            for variant in model.layout:
                variant.check_prompt(shortest_tokens)
        except ValueError:
            found[layout] = f"a prompt of {shortest_tokens:,} tokens"
    return found


def text_tokens(model: Model, text: str, name: str, sha256: str) -> Text:
    """The ids of a text; a model without a tokenizer reads arbitrary ids of its vocabulary."""
    if model.tokenizer is not None:
        return Text(name, sha256, tuple(model.encode(text)[0].tolist()))
    ids: Sequence[int] = jax.random.randint(jax.random.key(0), (2**18,), 0, model.config.vocab_size).tolist()
    return Text("random ids", "random ids, key 0", tuple(ids))
