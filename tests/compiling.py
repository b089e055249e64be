"""How tests compile.  XLA's older CPU emitters take half as long as those that users get; jax 0.11 has them no more.

`python -m tests.compiling` prints the XLA_FLAGS under which `make test`, `make mutants` and the random models of
`make parity` and `make parity-eviction` run; all other suites run as users do.  `make test` does not optimise either.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import jax

_HAS_OLDER_EMITTERS: Final = jax.__version_info__ < (0, 11)

_ALL_UNOPTIMISED: Final = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS", "") in ("1", "true")
"""What the environment asks of jax for a whole run, as `make test` does."""

QUICK_FLAGS: Final = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1" if _HAS_OLDER_EMITTERS else ""
)
"""In one piece, too: the suite's own processes leave no core free for another."""

AS_USERS_DO: Final[dict[str, Any]] = {"xla_cpu_use_fusion_emitters": True} if _HAS_OLDER_EMITTERS else {}
"""Options of a compile whose memory is asserted: it is planned for the loops that users run, whatever the flags."""


@contextmanager
def unoptimised() -> Iterator[None]:
    """Compiles without optimising: for many small programs, whose results do not depend on it."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", _ALL_UNOPTIMISED)


if __name__ == "__main__":
    print(QUICK_FLAGS)
