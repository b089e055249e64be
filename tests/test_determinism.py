"""A run on a CPU is the same in every process, bit for bit: logits, caches, drawn tokens, figures of quality."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from eval.quality.divergence import final_hidden, per_token, summarise
from refmodel.generate import generate
from refmodel.source import open_model

LAYOUT = "evict(h2o,budget=9,chunk=8,sinks=1)+swa(5)+moba(block=4,topk=2)+routed(2|full,router=random)"
TOKENS = 37


def digests() -> dict[str, str]:
    """Of every bit that one run puts out."""
    model = open_model("tiny-dense", layout=LAYOUT, seed=3)
    ids = jax.random.randint(jax.random.key(5), (TOKENS,), 0, model.config.vocab_size)
    logits_bv, cache = model.prefill(ids, chunk_tokens=8)
    full = model.with_layout("full")
    hidden = [final_hidden(one.config, one.params, ids) for one in (full, model)]
    quality = summarise(per_token(model.config, model.params, ids, *hidden))
    drawn = generate(model.config, model.params, ids[None], 9, temperature=0.7, seed=11)
    found = {"logits": logits_bv, "cache": cache.runs, "params": model.params, "drawn": drawn, "hidden": hidden}
    return {"quality": repr(quality)} | {
        name: hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(tree))).hexdigest()
        for name, tree in found.items()
    }


@pytest.mark.slow
def test_two_processes_give_the_same_bits():
    command = "from tests.test_determinism import digests; print(sorted(digests().items()))"
    said = [
        subprocess.Popen(
            [sys.executable, "-c", command], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
        )
        for seed in ("1", "2")
    ]  # fmt: skip
    one, two = (process.communicate()[0] for process in said)
    assert one == two and "perplexity" in one and all(process.returncode == 0 for process in said)
