"""Element types by the short names that cards and tables use."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import jax.numpy as jnp

DTYPES: Final = MappingProxyType({"bf16": jnp.bfloat16, "f16": jnp.float16, "f32": jnp.float32})


def dtype_of(name: str) -> Any:
    """The named type, or a `ValueError` that lists them."""
    if name not in DTYPES:
        raise ValueError(f"no dtype {name!r}; accepted: {', '.join(DTYPES)}")
    return DTYPES[name]
