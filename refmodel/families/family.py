"""What a model family is: two readers, one for each kind of checkpoint, and a writer of config.json."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from refmodel.fields import Fields
from refmodel.specification import ModelConfig


class GgufHeader(NamedTuple):
    """What a GGUF file says of its model.

    Attributes:
        name: of the model.
        fields: the settings of its architecture, their names without the architecture's.
        vocab_size: V, counted on the embedding.
        tied_head: whether the file has no `output.weight`.
        attention_bias: the projections with a bias, a part of "qkvo".
        mlp_bias: whether the feed-forward has biases.
        rope_factors: what the file divides the H/2 rotary frequencies by, from the name of the tensor (`rope_freqs`,
            `rope_factors_long`, `rope_factors_short`) and H/2; None where it has no such tensor.  Raises `ValueError`
            for one that is not readable.
        tensors: the names of all that the file has.
    """

    name: str
    fields: Fields
    vocab_size: int
    tied_head: bool
    attention_bias: str = ""
    mlp_bias: bool = False
    rope_factors: Callable[[str, int], tuple[float, ...] | None] = lambda name, count: None
    tensors: Collection[str] = ()


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        model_type: its name in config.json.
        from_config: the description, from a model's name and the fields of its config.json.
        to_config: the other way, the fields of a description; None where they are not written.  For one that is not the
            family's they say something else, or it raises `ValueError`: whoever asks reads them back.
        architecture: its name in GGUF files; empty where they are not read.
        from_header: the description, from what a GGUF file says.
        defaults: what a config.json means by a field that it does not speak of: transformers' configuration class.
        tiles_value_heads: whether its GGUF files hold value heads of DeltaNet layers in another order.
        interleaves_heads: whether its GGUF files hold the rows of queries and keys in the order for interleaved
            rotary positions: 0, H/2, 1, H/2 + 1, ...
        hf_names, gguf_names: what its files call a row of the table otherwise than the table, by the row's path;
            `{layer}` is left open.
        experts_in_turns: whether its folders hold fused experts as [E, in, out], gate and up in turns.
        fused: tensors of a layer by which its folders are written, that hold several parameters; either is read.

    The readers raise `ValueError` naming the field for a model that this project does not compute.
    """

    model_type: str
    from_config: Callable[[str, Fields], ModelConfig]
    architecture: str = ""
    from_header: Callable[[GgufHeader], ModelConfig] | None = None
    interleaves_heads: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    hf_names: Mapping[str, str] = field(default_factory=dict, hash=False)
    gguf_names: Mapping[str, str] = field(default_factory=dict, hash=False)
    experts_in_turns: bool = False
    fused: tuple[str, ...] = ()
    to_config: Callable[[ModelConfig], Mapping[str, Any]] | None = None
    tiles_value_heads: bool = False
