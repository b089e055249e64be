"""Golden files of positions: two small models, and what transformers computes from them under each of the cases.

python -m tests.golden.make_positions     rewrites positions/ beside this file, from fixed seeds
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.golden.make_golden import HERE, drawn
from tests.golden.position_cases import BASES, CASES, FEW_TOKENS, TOKENS
from tests.golden.real_configs import SHRINK, shrunken


def build(fields: dict[str, Any], seed: int) -> transformers.PreTrainedModel:
    """The float32 model of a config.json's fields."""
    config = transformers.AutoConfig.for_model(
        **json.loads(json.dumps(fields)), attn_implementation="eager", experts_implementation="eager"
    )
    return drawn(transformers.AutoModelForCausalLM.from_config(config).float().eval(), seed)


def logits(model: transformers.PreTrainedModel, tokens_bt: np.ndarray) -> np.ndarray:
    """Of every token, in one step."""
    with torch.no_grad():
        return model(torch.from_numpy(tokens_bt).long(), use_cache=False).logits.numpy()


def rotations(model: transformers.PreTrainedModel) -> dict[str, np.ndarray]:
    """By kind of layer: the frequencies that the last step rotated with, and after them the factor of attention."""
    made = model.model.rotary_emb
    kinds = [f"{kind}_" for kind in made.layer_types] if hasattr(made, "layer_types") else [""]
    return {
        kind: np.append(getattr(made, f"{kind}inv_freq").numpy(), getattr(made, f"{kind}attention_scaling"))
        for kind in kinds
    }


def random_tokens(vocab: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(vocab, size=(1, TOKENS), dtype=np.int32)


def write(folder: Path, base: str, seed: int) -> None:
    """The base model as a checkpoint, and the logits of each of its cases, beyond the original context and within."""
    build(BASES[base], seed).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(BASES[base], indent=2) + "\n", encoding="utf-8")
    tokens_bt = random_tokens(BASES[base]["vocab_size"], seed)
    found = {"tokens": tokens_bt}
    for case, (of, fields) in CASES.items():
        if of == base:
            model = build(
                BASES[base] | fields, seed
            )  # a model keeps what it made of longer sequences: few tokens first
            for tokens in (FEW_TOKENS, TOKENS):
                found[f"{case}: {tokens}"] = logits(model, tokens_bt[:, :tokens])
                found |= {f"{case}: {tokens}: {kind}": one for kind, one in rotations(model).items()}
    np.savez_compressed(folder / "golden.npz", **found)


def write_real(folder: Path, name: str, seed: int) -> None:
    """The small model of a published config.json's fields as a checkpoint, and its logits."""
    fields = shrunken(name)
    model = build(fields, seed)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    tokens_bt = random_tokens(fields["vocab_size"], seed)
    np.savez_compressed(folder / "golden.npz", tokens=tokens_bt, logits=logits(model, tokens_bt))


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    for kind in ("positions", "real"):
        shutil.rmtree(HERE / kind, ignore_errors=True)
    for seed, base in enumerate(BASES):
        write(HERE / "positions" / base, base, seed)
    for seed, name in enumerate(SHRINK):
        write_real(HERE / "real" / name.replace(" ", "-"), name, seed)


if __name__ == "__main__":
    main()
