"""Rows of the table for what is outside the layers."""

from __future__ import annotations

from refmodel.parameters import Parameter, Table, norm_row
from refmodel.parts import Norm


def outside_rows(d_model: int, vocab_size: int, final_norm: Norm, tied_head: bool) -> Table:
    """What is outside the layers: embedding, final norm, and a head of its own where the embedding is not the head."""
    d, v = d_model, vocab_size
    head = Parameter(
        "head.kernel", ("embed", "vocab"), (d, v), ("embed",), "head", hf="lm_head.weight", gguf="output.weight"
    )
    return (
        Parameter(
            "embed.embedding", ("vocab", "embed"), (v, d), ("embed",), "head" if tied_head else "",
            hf="model.embed_tokens.weight", gguf="token_embd.weight",
        ),
        norm_row("final_norm", final_norm, "embed", d, "model.norm", "output_norm.weight"),
        *(() if tied_head else (head,)),
    )  # fmt: skip
