"""A run on a CPU is the same in every process, bit for bit: logits, caches, drawn tokens, figures of quality."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from eval.quality.divergence import final_hidden, per_token, summarise
from refmodel.cache import init_cache
from refmodel.generate import generate
from refmodel.model import step
from refmodel.source import open_model

LAYOUT = "evict(h2o,budget=9,chunk=8,sinks=1)+swa(5)+moba(block=4,topk=2)+routed(2|full,router=random)"
TOKENS, DECODED = 37, 5


def digests() -> dict[str, str]:
    """Of every bit that a run of each kind puts out."""
    found = of_layouts() | {name: of_steps(name) for name in ("tiny-dense", "tiny-hybrid")}
    return {name: one if isinstance(one, str) else digest(one) for name, one in found.items()}


def digest(tree: Any) -> str:
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(tree))).hexdigest()


def of_steps(name: str) -> Any:
    """A preset as it is: a prompt and the tokens after it, one by one, and what its layers hold then."""
    model = open_model(name, seed=3)
    ids = jax.random.randint(jax.random.key(5), (2, TOKENS), 0, model.config.vocab_size)
    feed, cache = jax.jit(step, static_argnums=0), init_cache(model.config, len(ids), TOKENS + DECODED)
    logits_bv, cache = feed(model.config, model.params, cache, ids)
    found = [logits_bv]
    for _ in range(DECODED):
        logits_bv, cache = feed(model.config, model.params, cache, logits_bv.argmax(-1)[:, None])
        found.append(logits_bv)
    return found, cache.runs


def of_layouts() -> dict[str, Any]:
    """Evictions, chosen blocks and drawn spans, in chunks; what is drawn after them, and what they are worth."""
    model = open_model("tiny-dense", layout=LAYOUT, seed=3)
    ids = jax.random.randint(jax.random.key(5), (TOKENS,), 0, model.config.vocab_size)
    logits_bv, cache = model.prefill(ids, chunk_tokens=8)
    full = model.with_layout("full")
    hidden = [final_hidden(one.config, one.params, ids) for one in (full, model)]
    quality = summarise(per_token(model.config, model.params, ids, *hidden))
    drawn = generate(model.config, model.params, ids[None], 9, temperature=0.7, seed=11)
    found = {"logits": logits_bv, "cache": cache.runs, "params": model.params, "drawn": drawn, "hidden": hidden}
    found["quality"] = repr(quality)
    return found


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
