"""What the GPU benchmarks share: a chain of calls timed as one, and the command that a record names."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax


def chain_ms(call: Callable[..., Any], inputs: Sequence[tuple], calls: int) -> float:
    """Milliseconds per call of `calls`, one after the other over rotating `inputs`, all outputs waited for."""
    start = time.perf_counter()
    for i in range(calls):
        output = call(*inputs[i % len(inputs)])  # the device runs them in order; earlier outputs need not be kept
    _wait(output)
    return 1e3 * (time.perf_counter() - start) / calls


def _wait(output: Any) -> None:
    if isinstance(output, jax.Array):
        output.block_until_ready()
    else:
        import torch

        torch.cuda.synchronize()


def invocation(module: str) -> str:
    """The command line that runs the benchmark `module` as it runs now."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])
