"""Golden files: what kvpress keeps and computes with the random Qwen3-MoE of `tests/golden/moe`.

python -m tests.parity_eviction.make_golden        rewrites tests/golden/eviction/*.npz, from a fixed seed
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from tests.golden.eviction.compare import AFTER_PROMPT, IN_CHUNKS, TOKENS
from tests.parity_eviction.reference import run

GOLDEN: Final = Path(__file__).parents[1] / "golden"
BATCH, VOCAB = 2, 53


def random_tokens(seed: int) -> np.ndarray:
    """[B, T], no token twice in a row: in layer 0 equal tokens have keys of equal norm, and Knorm's choice is a tie."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(VOCAB)[:TOKENS] for _ in range(BATCH)]).astype(np.int32)


def compute(folder: Path, policy: str, in_chunks: bool, seed: int) -> dict[str, np.ndarray]:
    """What `tests.golden.eviction.compare.errors` reads."""
    tokens_bt = random_tokens(seed)
    found = run(folder, policy, tokens_bt, in_chunks=in_chunks)
    positions = {f"positions{layer}": one.astype(np.int16) for layer, one in enumerate(found.positions)}
    return {"tokens": tokens_bt, "logits": found.logits, **positions}


def main() -> None:
    for in_chunks, policies in ((True, IN_CHUNKS), (False, sorted(set(AFTER_PROMPT) - set(IN_CHUNKS)))):
        for policy in policies:
            name = f"{'chunks' if in_chunks else 'after'}-{policy}.npz"
            np.savez_compressed(GOLDEN / "eviction" / name, **compute(GOLDEN / "moe", policy, in_chunks, seed=5))
    versions = {name: version(name) for name in ("kvpress", "transformers", "torch")}
    (GOLDEN / "eviction" / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
