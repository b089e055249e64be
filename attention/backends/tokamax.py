"""`tokamax`: OpenXLA's library of kernels, where it is installed; only its name calls it."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from attention.attended import Attended
from attention.backends.base import Operands, Request
from attention.backends.prompt_only import PromptOnly, local_window


class Tokamax(PromptOnly):
    """`tokamax.dot_product_attention` by its kernel for Hopper."""

    name = "tokamax"

    def cannot(self, request: Request) -> str | None:
        return super().cannot(request) or (None if has_tokamax() else "tokamax is not installed")

    def run(self, operands: Operands, *, need_lse: bool) -> Attended:
        q_btnh, k_bskh, v_bskh, *_, pattern = operands
        window = local_window(pattern, q_btnh.shape[1])
        out_btnh = import_tokamax().dot_product_attention(
            q_btnh, k_bskh, v_bskh, is_causal=True, local_window_size=window, implementation="mosaic"
        )
        return Attended(out_btnh)


def has_tokamax() -> bool:
    """Whether the optional extra is installed."""
    return importlib.util.find_spec("tokamax") is not None


def import_tokamax() -> ModuleType:
    """The optional package, kept from parsing this program's command line, as it does on its first use."""
    import tokamax
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return tokamax
