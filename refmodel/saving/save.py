"""A model as a Hugging Face folder: what `refmodel.load` and transformers read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from attention.checks import of_kind, whole
from refmodel.saving.config_json import written_config
from refmodel.saving.new_folder import new_folder
from refmodel.saving.tensors import MOST_SHARD_BYTES, tensors_of, write_tensors
from refmodel.specification import ModelConfig
from refmodel.tokenizer.chat import ChatTemplate
from refmodel.tokenizer.library import refusals
from refmodel.tree import Params
from refmodel.words import reason

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def save(
    folder: str | Path, config: ModelConfig, params: Params, tokenizer: Tokenizer | None = None,
    end_tokens: Sequence[int] = (), chat_template: ChatTemplate | None = None, *, overwrite: bool = False,
    shard_bytes: int = MOST_SHARD_BYTES,
) -> None:  # fmt: skip
    """Writes a model to `folder`: `refmodel.source.Model.save`, in shards of `shard_bytes` at most."""
    of_kind("folder: a path", folder, str | Path)
    of_kind("overwrite: True or False", overwrite, bool)
    end_ids = [whole("an end token", one, 0) for one in end_tokens]  # numpy's numbers are none in JSON
    fields, family = written_config(config)
    tensors = tensors_of(config, params, family)
    ends = {"eos_token_id": _ends(end_ids)}
    about = {"dtype": str(params["embed"]["embedding"].dtype), **ends}
    n_bytes = sum(tensor.n_bytes for tensor in tensors.values())
    try:
        with new_folder(Path(folder), n_bytes, overwrite=overwrite) as into:
            _write_json(into / "config.json", {**fields, **about})
            if end_ids:
                _write_json(into / "generation_config.json", ends)
            if tokenizer:
                _write_tokenizer(into, tokenizer, chat_template)
            write_tensors(into, tensors, params, shard_bytes)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder}: the model cannot be saved there ({reason(error)})") from error


def _ends(end_ids: list[int]) -> int | list[int] | None:
    """As files have them: one, several, or none."""
    return end_ids[0] if len(end_ids) == 1 else end_ids or None


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, chat_template: ChatTemplate | None) -> None:
    """Whole, with the first and last token of a text in its template; whether special tokens are split, and how chats
    are laid out, is no part of tokenizer.json."""
    with refusals(f"{folder}: the tokenizer cannot be saved"):
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    told: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    told["split_special_tokens"] = tokenizer.encode_special_tokens
    if chat_template is not None:
        told |= {**chat_template.tokens, "chat_template": chat_template.source}
    _write_json(folder / "tokenizer_config.json", told)


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    text = json.dumps(fields, indent=2, sort_keys=True, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")
