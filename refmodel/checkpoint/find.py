"""Where a model comes from: one spelling for presets, folders, GGUF files and Hub ids."""

from __future__ import annotations

from pathlib import Path

from attention.unknown import did_you_mean
from refmodel.checkpoint import Checkpoint, open_checkpoint
from refmodel.checkpoint.random_weights import RandomWeights
from refmodel.default_model import DEFAULT_MODEL, default_gguf
from refmodel.presets import PRESETS, RUNNING, preset
from refmodel.specification import ModelConfig


def open_config(spec: str) -> ModelConfig:
    """The description alone, without reading any weight: see `open_model` for `spec`."""
    return find_checkpoint(spec).config


def find_checkpoint(spec: str, seed: int = 0) -> Checkpoint | RandomWeights:
    """The checkpoint behind `spec`, none of its weights read; random ones for a preset that comes without."""
    path = Path(spec).expanduser()
    if spec == DEFAULT_MODEL:
        return open_checkpoint(default_gguf())
    if spec in PRESETS:
        return RandomWeights(preset(spec), seed)
    if path.exists():
        return open_checkpoint(path)
    if spec.count("/") == 1 and not spec.startswith((".", "/", "~")) and path.suffix != ".gguf":
        return open_checkpoint(_from_hub(spec))
    accepted = f"a folder, a .gguf file, a Hub id owner/name, or a preset ({', '.join(RUNNING)})"
    raise ValueError(f"no model {spec!r}: no such path{did_you_mean(spec, PRESETS)}; accepted: {accepted}")


def _from_hub(repo_id: str) -> Path:
    try:
        from huggingface_hub import snapshot_download  # optional: the extra `hub`
    except ImportError as error:
        raise ValueError(f"{repo_id!r} looks like a Hub id; reading it needs `pip install huggingface_hub`") from error
    wanted = ["config.json", "tokenizer.json", "*.safetensors", "*.safetensors.index.json"]
    try:
        return Path(snapshot_download(repo_id, allow_patterns=wanted))
    except Exception as error:  # the package raises many unrelated kinds, from requests' to its own
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(f"cannot fetch {repo_id!r} from the Hub ({type(error).__name__}: {reason})") from error
