"""Forty calls that somebody gets wrong; run as a program it prints what each of them says, as one JSON object.

A program of its own, since tests hold arrays to their shapes before the functions themselves do.
"""

from __future__ import annotations

import json
import time

import jax.numpy as jnp
import numpy as np

import attention
import eval
import refmodel
from attention.attend import attend
from attention.full import Full
from attention.pattern import SpanPattern
from refmodel.cache import init_cache
from refmodel.decoder import decoder
from refmodel.generate import generate
from refmodel.model import prefill, step


def calls() -> dict[str, tuple]:
    """What is called, by words of what must be said; each raises `ValueError` of one line."""
    model = refmodel.load("tiny-dense")
    config, params = model.config, model.params
    ids, floats = jnp.array([[2, 7, 1]]), jnp.ones((1, 3))
    cache = init_cache(config, 1, 5)
    q, k = jnp.ones((1, 3, 4, 8)), jnp.ones((1, 5, 2, 8))
    q_pos, kv_pos, full = jnp.arange(3)[None], jnp.arange(5)[None, None], Full().pattern()
    narrow = k.astype(jnp.bfloat16)

    def attending(q=q, k=k, v=k, q_pos=q_pos, kv_pos=kv_pos, pattern=full, **more):
        return attend(q, k, v, q_pos, kv_pos, pattern, **more)

    def layers(n):
        return decoder("mine", n, 8, 2, 1, 4, 5, d_ff=3)

    tiny = {"model": "tiny-dense", "layouts": ["swa(5)"], "tokens": [16]}
    return {
        # attend
        "q must be [B, T, N, H]": lambda: attending(q=q[0]),
        "k must be [B, S, K, H]": lambda: attending(k=k[0]),
        "v must be [B, S, K, H]": lambda: attending(v=k[:, :, :1]),
        "q must be of floats": lambda: attending(q=q.astype(jnp.int32)),
        "k must be of floats, got int32": lambda: attending(k=k.astype(jnp.int32), v=k.astype(jnp.int32)),
        "k and v must have one dtype": lambda: attending(v=narrow),
        "q must be an array": lambda: attending(q=[[1.0]]),
        "q_pos must be whole numbers, got float32": lambda: attending(q_pos=q_pos.astype(jnp.float32)),
        "kv_pos must be whole numbers, got bool": lambda: attending(kv_pos=kv_pos > 1),
        "q_pos must be [B or 1, T] = (1, 3)": lambda: attending(q_pos=jnp.arange(2)[None]),
        "kv_pos must be [B or 1, K or 1, S]": lambda: attending(kv_pos=jnp.arange(5)[None]),
        "a pattern is wanted, such as Full().pattern(), got 'full'": lambda: attending(pattern="full"),
        "no attention implementation 'flash'": lambda: attending(impl="flash"),
        "no order 'sorted' of positions": lambda: attending(order="sorted"),
        "4 query heads are not a multiple of 3": lambda: attending(k=jnp.ones((1, 5, 3, 8)), v=jnp.ones((1, 5, 3, 8))),
        "at least one of each size": lambda: attending(k=k[:, :0], v=k[:, :0], kv_pos=kv_pos[..., :0]),
        # the model
        "tokens must be ids, [B, T] or [T], got float32[1, 3]": lambda: model.prefill(floats),
        "tokens must be ids, [B, T] or [T], got int32[1, 1, 3]": lambda: model.prefill(ids[None]),
        "tokens must be ids, [B, T] or [T], got <U4[]": lambda: model.prefill("word"),
        "tokens must be ids, [B, T] or [T], got [[1, 2], [3]]": lambda: model.prefill([[1, 2], [3]]),
        "chunk_tokens must be a whole number of at least 1, got 2.0": lambda: model.prefill(ids, chunk_tokens=2.0),
        "chunk_tokens must be a whole number of at least 1, got 0": lambda: model.prefill(ids, chunk_tokens=0),
        "capacity_tokens must be a whole number of at least 1, got '9'": lambda: model.prefill(
            ids, capacity_tokens="9"
        ),
        "too small": lambda: model.prefill(ids, capacity_tokens=2),
        "logits must be one of last, all, got 'first'": lambda: model.prefill(ids, logits="first"),
        "no attention implementation 'flsh'": lambda: model.prefill(ids, impl="flsh"),
        "has no tokenizer": lambda: model.encode("word"),
        "tokens must be whole numbers, [B, T], got float32[1, 3]": lambda: prefill(config, params, floats),
        "tokens must be whole numbers, [B, T], got int32[3]": lambda: prefill(config, params, ids[0]),
        "positions must be whole numbers, got float32": lambda: step(config, params, cache, ids, positions_bt=floats),
        "positions must be [1 or B, T]": lambda: step(config, params, cache, ids, positions_bt=jnp.arange(2)[None]),
        "capacity_tokens must be a whole number of at least 1, got 4.5": lambda: init_cache(config, 1, 4.5),
        "batch must be a whole number of at least 1, got -1": lambda: init_cache(config, -1, 4),
        "dtype must be one of floats, got int8": lambda: init_cache(config, 1, 4, jnp.int8),
        "new_tokens must be a whole number of at least 1, got 0": lambda: generate(config, params, ids, 0),
        "temperature must be a finite number of at least 0, got nan": lambda: generate(
            config, params, ids, 3, temperature=np.nan
        ),
        "[B, T], one at least, got float32[1, 3]": lambda: generate(config, params, floats, 3),
        "n_layers must be a whole number from 1 to 10,000, got 0": lambda: layers(0),
        "n_layers must be a whole number from 1 to 10,000, got 2.5": lambda: layers(2.5),
        # loading, layouts
        "a model is named by text, got 5": lambda: refmodel.load(5),
        "dtype must be one of floats, got int8 ": lambda: refmodel.load("tiny-dense", dtype=jnp.int8),
        "no dtype 'float33'": lambda: refmodel.load("tiny-dense", dtype="float33"),
        "seed must be a whole number from 0 to 4,294,967,295, got -1": lambda: refmodel.load("tiny-dense", seed=-1),
        "a layout is text, a variant or a list of them, got 5": lambda: model.with_layout(5),
        "a layout is text, a variant or a list of them, got 5 ": lambda: model.with_layout(["full", 5, "full", "full"]),
        "got 2 entries for 4 layers": lambda: model.with_layout(["full", "full"]),
        "window must be a whole number": lambda: attention.make("swa", window=1.5),
        "a layout needs at least 1 layer": lambda: attention.parse_layout("full", 0),
        "layers must be a whole number of at least 1, got '4'": lambda: attention.parse_layout("full", "4"),
        # compare
        "tokens is a list, got 16": lambda: eval.compare(**tiny | {"tokens": 16}),
        "tokens must be a whole number of at least 1, got 16.5": lambda: eval.compare(**tiny | {"tokens": [16.5]}),
        "tokens must be a whole number of at least 1, got '16'": lambda: eval.compare(**tiny | {"tokens": ["16"]}),
        "layouts is a list, got 'full'": lambda: eval.compare(**tiny | {"layouts": "full"}),
        "quality_tokens must be a whole number of at least 0": lambda: eval.compare(**tiny, quality_tokens=2.5),
        "text must be text, got b'x'": lambda: eval.compare(**tiny, text=b"x"),
        "dtype must be one of floats, got int32": lambda: eval.compare(**tiny, dtype="int32"),
        "a model is named by text or is a refmodel.Model, got None": lambda: eval.compare(**tiny | {"model": None}),
        "no attention implementation 'flahs'": lambda: eval.compare(**tiny, impl="flahs"),
        "tiny-dense with random (seed 0) weights has no tokenizer: give": lambda: eval.compare(**tiny, text="x"),
        "layers apart are no model that reads a text": lambda: eval.compare(**tiny, text="x", layers_apart=True),
        "'a\\x00b' is no name of a folder": lambda: eval.compare(**tiny, out="a\0b"),
        "no records at xxx": lambda: eval.Comparison.read("x" * 300),
        "needs 940.4 GB": lambda: eval.compare("qwen3-235b-a22b"),
        "sink must hold keys in 0..": lambda: SpanPattern(sink=(-1,)),
        "swa: window must be at least 1 key": lambda: attention.make("swa(-1)"),
    }


def said() -> dict[str, dict]:
    found = {}
    for words, call in calls().items():
        start = time.perf_counter()
        try:
            call()
            error = None
        except Exception as caught:
            error = caught
        found[words] = {"kind": type(error).__name__, "text": str(error), "seconds": time.perf_counter() - start}
    return found


if __name__ == "__main__":
    print(json.dumps(said()))
