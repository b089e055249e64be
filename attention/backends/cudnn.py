"""`cudnn`: NVIDIA's library, as jax calls it."""

from __future__ import annotations

import jax

from attention.attended import Attended
from attention.backends.base import Operands
from attention.backends.prompt_only import PromptOnly, local_window


class Cudnn(PromptOnly):
    """`jax.nn.dot_product_attention`."""

    name = "cudnn"
    place = 20

    def run(self, operands: Operands, *, need_lse: bool) -> Attended:
        q_btnh, k_bskh, v_bskh, *_, pattern = operands
        window = local_window(pattern, q_btnh.shape[1])
        out_btnh = jax.nn.dot_product_attention(
            q_btnh, k_bskh, v_bskh, is_causal=True, local_window_size=window, implementation="cudnn"
        )
        return Attended(out_btnh)
