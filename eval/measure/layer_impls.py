"""Which implementations a layer's attention takes, found by tracing it: nothing is compiled and nothing runs."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from attention.attend import attend
from attention.attended import Attended
from attention.mixer import Mixer
from eval.measure.by_target import cached_by_target
from eval.measure.layer_program import layer_kernel
from refmodel.specification import ModelConfig


@cached_by_target
def layer_impls(config: ModelConfig, variant: Mixer, tokens: int, dtype: Any, impl: str = "auto") -> tuple[str, ...]:
    """In the order of their first call; of one layer with `variant`, a prompt of `tokens` in one step.

    Raises `ValueError` where `impl` names one that cannot run it.
    """

    def layer() -> Attended:
        kernel, arguments = layer_kernel(config, variant, tokens, dtype, attend=partial(attend, impl=impl))
        return kernel(*arguments)

    return jax.eval_shape(layer).impl
