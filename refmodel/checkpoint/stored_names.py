"""What tensors of Hugging Face folders are called: the model's own names, whatever saving put around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from refmodel.checkpoint.formats import WEIGHT_FORMATS
from refmodel.words import shown

_WRAPPERS: Final = ("_orig_mod.", "module.")  # torch.compile, DistributedDataParallel
_BASE: Final = ("embed_tokens.", "layers.", "norm.")
_TEXT: Final = "model.language_model."  # of a model that sees pictures, too
_ROTARY: Final = re.compile(r"(.*\.)?rotary_emb\.\w+")
_LAYER: Final = re.compile(r"model\.layers\.([0-9]{1,9})\.(.*)")
_SEEING: Final = ("model.visual.", "visual.", "model.vision_tower.", "model.embed_vision.")
_HEARING: Final = ("model.audio_tower.", "model.embed_audio.")
_NEXT_TOKENS: Final = ("eh_proj.", "enorm.", "hnorm.", "shared_head.")


def own_name(stored: str) -> str:
    """`model.layers.0...`, also of what was saved compiled, or without the head and so without the prefix `model.`.

    A packed matrix is the model's `X.weight`, whatever its format calls it (`X.qweight`).
    """
    for wrapper in _WRAPPERS:
        stored = stored.replace(wrapper, "")
    stored = stored.replace(_TEXT, "model.", 1) if stored.startswith(_TEXT) else stored
    for ending in {one.stored_as for one in WEIGHT_FORMATS.values() if one.stored_as}:
        stored = f"{stored.removesuffix(ending)}.weight" if stored.endswith(ending) else stored
    return f"model.{stored}" if stored.startswith(_BASE) else stored


def own_names(stored: Iterable[str], where: str) -> dict[str, str]:
    """The stored name of each tensor by its own.  Raises `ValueError` where two of them are the same tensor."""
    found: dict[str, str] = {}
    for name in stored:
        own = own_name(name)
        if own in found:
            raise ValueError(f"{where}: {shown(found[own])} and {shown(name)} are both {shown(own)}")
        found[own] = name
    return found


def harmless(names: Iterable[str], n_layers: int) -> Mapping[str, list[str]]:
    """Tensors that take no part in a model of `n_layers`, by what they are."""
    names = list(names)
    numbered = {name: (int(found[1]), found[2]) for name in names if (found := _LAYER.fullmatch(name))}
    beyond = {layer for layer, rest in numbered.values() if layer >= n_layers and rest.startswith(_NEXT_TOKENS)}
    kinds = {
        "tensors of what sees pictures": [name for name in names if name.startswith(_SEEING)],
        "tensors of what hears": [name for name in names if name.startswith(_HEARING)],
        "rotary buffers, which the config gives": [name for name in names if _ROTARY.fullmatch(name)],
        "tensors of layers that predict tokens beyond the next": [
            name for name in names
            if name.startswith(("mtp.", "model.mtp.")) or numbered.get(name, (-1, ""))[0] in beyond
        ],
    }  # fmt: skip
    return {what: found for what, found in kinds.items() if found}
