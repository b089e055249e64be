"""A model in a few lines, for whoever prints it: its arrays would be pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refmodel.tree import leaves_by_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from refmodel.specification import ModelConfig
    from refmodel.tree import Params


def told_model(config: ModelConfig, params: Params, weights: str, n_bytes: int, tokenizer: Tokenizer | None) -> str:
    """Name and size, layout, weights with their dtype and bytes, and tokenizer, a line each."""
    dtypes = sorted({str(leaf.dtype) for leaf in leaves_by_path(params).values() if hasattr(leaf, "dtype")})
    words = "none: token ids alone" if tokenizer is None else f"{tokenizer.get_vocab_size():,} tokens"
    return "\n".join((
        f"{config.name}: {config.params:,} parameters, {config.n_layers} layers, {_heads(config)}",
        f"  layout     {config.layout_summary}",
        f"  weights    {weights}, {'+'.join(dtypes)}, {n_bytes:,} bytes",
        f"  tokenizer  {words}",
        f"  context    {config.max_positions:,} tokens",
    ))  # fmt: skip


def _heads(config: ModelConfig) -> str:
    """Of the layers that have a mixer, each kind once."""
    found = dict.fromkeys(layer.heads for layer in config.layers if layer.mixer)
    return " and ".join(f"{one.n_heads} heads on {one.n_kv_heads} of {one.head_dim}" for one in found) or "no heads"
