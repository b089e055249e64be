"""A hundred calls that somebody gets wrong; run as a program it prints what each of them says, as one JSON object.

A program of its own, since tests hold arrays to their shapes before the functions themselves do.
"""

from __future__ import annotations

import json
import time

import jax.numpy as jnp
import numpy as np
import optax

import attention
import eval
import refmodel
from attention.attend import attend
from attention.cost import Heads
from attention.full import Full
from attention.pattern import SpanPattern
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense, audit
from refmodel.cache import init_cache
from refmodel.decoder import decoder
from refmodel.fit import fit
from refmodel.generate import generate
from refmodel.model import embed, prefill, step, unembed
from refmodel.observe import attention_weights, observe_routed, routes_taken
from refmodel.presets import preset
from refmodel.train import next_token_loss, only_leaves, train_state


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

    swa, square, heads = attention.make("swa(5)"), jnp.ones((2, 2)), Heads(6, 2, 8)
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
        "weights has no tokenizer: give token ids ": lambda: model.prefill("word"),
        "tokens must be ids, [B, T] or [T], got [[1, 2], [3]]": lambda: model.prefill([[1, 2], [3]]),
        "chunk_tokens must be a whole number of at least 1, got 2.0": lambda: model.prefill(ids, chunk_tokens=2.0),
        "chunk_tokens must be a whole number of at least 1, got 0": lambda: model.prefill(ids, chunk_tokens=0),
        "capacity_tokens must be a whole number of at least 1, got '9x'": lambda: model.prefill(
            ids, capacity_tokens="9x"
        ),
        "too small": lambda: model.prefill(ids, capacity_tokens=2),
        "logits must be one of last, all, got 'first'": lambda: model.prefill(ids, logits="first"),
        "no attention implementation 'flsh'": lambda: model.prefill(ids, impl="flsh"),
        "has no tokenizer": lambda: model.encode("word"),
        "has no tokenizer: give token ids": lambda: model.decode([1]),
        "tokens must be an array of whole numbers, [B, T], got float32[1, 3]": lambda: prefill(config, params, floats),
        "tokens must be an array of whole numbers, [B, T], got int32[3]": lambda: prefill(config, params, ids[0]),
        "token id 257 is not in the vocabulary; accepted: 0 to 256": lambda: prefill(config, params, ids + 255),
        "token id -2 is not in the vocabulary": lambda: step(config, params, cache, ids - 4),
        "token id 259 is not in the vocabulary": lambda: embed(config, params, ids + 252),
        "token id -3 is not in the vocabulary": lambda: embed(config, params, ids - 4 + jnp.array([[2, 0, 0]])),
        "tokens: an array of ids is wanted, got 'hello'": lambda: embed(config, params, "hello"),
        "tokens must be ids, [B, T] or [T], got none": lambda: model.prefill([]),
        "params: parameters by name, as a model's `params` are, is wanted, got tiny-dense": lambda: prefill(
            config, model, ids
        ),
        "`params` are, is wanted, got tiny-dense": lambda: train_state(optax.sgd(0.1), model),
        "as a model's `params` are, is wanted": lambda: unembed(config, model, floats),
        "`params` are, is wanted, got tiny-dense: 1": lambda: generate(config, model, ids, 3),
        "is wanted, got tiny-dense: 1... 40,960 tokens": lambda: audit(model),
        "parameters by name, as a model's `params` are": lambda: only_leaves(optax.sgd(0.1), model, "*"),
        "by name, as a model's `params` are, is wanted": lambda: attention_weights(config, model, ids, [0]),
        "a model is named by text, got tiny-dense": lambda: refmodel.load(model),
        "a layout is text, a variant or a list of them, got tiny-dense": lambda: refmodel.load(
            "tiny-dense", layout=model
        ),
        "token id 302 is not in the vocabulary": lambda: routes_taken(config, params, ids + 300),
        "such as refmodel.load(...).config, is wanted, got 'tiny-dense'": lambda: prefill("tiny-dense", params, ids),
        "config, is wanted, got 'tiny-moe'": lambda: step("tiny-moe", params, cache, ids),
        "config, is wanted, got 'smollm2'": lambda: routes_taken("smollm2", params, ids),
        "config, is wanted, got a Model": lambda: next_token_loss(model, params, ids),
        "config, is wanted, got 'dense'": lambda: embed("dense", params, ids),
        "config, is wanted, got 'hybrid'": lambda: unembed("hybrid", params, jnp.ones((1, 48))),
        "which model.encode makes of a text, got 'words'": lambda: routes_taken(config, params, "words"),
        "tokens must be ids, [B, T] or [T], got int64[]": lambda: observe_routed(config, params, 5, print),
        "config, is wanted, got 'tiny'": lambda: attention_weights("tiny", params, ids, [0]),
        "config, is wanted, got 'llama'": lambda: fit("llama", optax.sgd(0.1), params, [ids]),
        "which model.encode makes of a text, got 'word'": lambda: next_token_loss(config, params, "word"),
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
        "new_tokens must be a whole number of at least 1, got '8kk'": lambda: model.generate(ids, "8kk"),
        "top_k and top_p say what a token is drawn from": lambda: model.generate(ids, top_k=3),
        "a stop is a token's id where a model has no tokenizer, got 'end'": lambda: model.generate(ids, stop="end"),
        "stop must be a whole number of at least 0, got 1.5": lambda: model.stream(ids, stop=[1.5]),
        "chat takes what a user says, a text": lambda: model.stream(ids, chat=True),
        "tokens must be ids, [B, T] or [T], got float32[1, 3] ": lambda: model.stream(floats),
        "n_layers must be a whole number from 1 to 10,000, got 0": lambda: layers(0),
        "n_layers must be a whole number from 1 to 10,000, got 2.5": lambda: layers(2.5),
        # loading, layouts
        "a model is named by text, got 5": lambda: refmodel.load(5),
        "dtype must be one of floats, got int8 ": lambda: refmodel.load("tiny-dense", dtype=jnp.int8),
        "weights: the name of a format is wanted, got 5": lambda: refmodel.load("tiny-dense", weights=5),
        "no format of weights 'kept(3)'": lambda: refmodel.load("tiny-dense", weights="kept(3)"),
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
        "tokens must be a whole number of at least 1, got '16x'": lambda: eval.compare(**tiny | {"tokens": ["16x"]}),
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
        "text (random ids) has 262144 tokens, 1000000000000 are": lambda: eval.compare(**tiny | {"tokens": [10**12]}),
        "layouts is empty; None takes the usual ones": lambda: eval.compare(**tiny | {"layouts": []}),
        "tokens is empty; None takes the usual ones": lambda: eval.compare(**tiny | {"tokens": []}),
        "budget: an eval.measure.timing.Budget is wanted, got 5": lambda: eval.compare(**tiny, budget=5),
        "on_record: a function of a record is wanted, got 5": lambda: eval.compare(**tiny, on_record=5),
        "resume goes on with what a folder has: give out": lambda: eval.compare(**tiny, resume=True),
        "from 0 to 4,294,967,295, got -1": lambda: eval.compare(**tiny, seed=-1),
        "from 0 to 4,294,967,295, got 'x'": lambda: eval.compare(**tiny, seed="x"),
        "no attention implementation 'None'": lambda: eval.compare(**tiny, impl=None),
        # the model, once more
        "a cache holds at most 2,147,483,646 tokens": lambda: model.prefill(ids, capacity_tokens=10**12),
        "impl: the name of an attention implementation is wanted, got ['dense']": lambda: model.prefill(
            ids, impl=["dense"]
        ),
        "got object[]": lambda: model.prefill(None),
        "got bool[1, 2]": lambda: model.prefill(np.array([[True, False]])),
        "token id 300 is not in the vocabulary": lambda: model.prefill([300]),
        "token id -1 is not in the vocabulary": lambda: model.prefill([-1]),
        "chunk_tokens must be a whole number of at least 1, got True": lambda: model.prefill(ids, chunk_tokens=True),
        "from 0 to 4,294,967,295, got '1'": lambda: model.with_layout("routed(5|full)", seed="1"),
        "a layout is text, a variant or a list of them, got None": lambda: model.with_layout(None),
        "cache: what init_cache or a step gave is wanted, got None": lambda: step(config, params, None, ids),
        "tokens must be an array of whole numbers, [B, T], got [[1, 2]]": lambda: step(config, params, cache, [[1, 2]]),
        "tokens must be an array [B, T], got [[1, 2]]": lambda: generate(config, params, [[1, 2]], 3),
        "a cache for 2,000,000,002 tokens of tiny-dense needs 2112.0 GB": lambda: generate(
            config, params, ids, 2 * 10**9
        ),
        "seed must be a whole number from 0 to 4,294,967,295, got -1 ": lambda: generate(
            config, params, ids, 3, seed=-1
        ),
        "temperature: a number is wanted, got 'hot'": lambda: generate(config, params, ids, 3, temperature="hot"),
        "stop_tokens: a collection of ids is wanted, got 5": lambda: generate(config, params, ids, 3, stop_tokens=5),
        "stop_tokens must be a whole number from 0 to 256, got 300": lambda: generate(
            config, params, ids, 3, stop_tokens=(300,)
        ),
        "no dtype None": lambda: refmodel.load("tiny-dense", dtype=None),
        "no model 'a\\x00b'": lambda: refmodel.load("a\0b"),
        "no model 'None'": lambda: preset(None),
        # variants and layouts, once more
        "a variant's name, a text, is wanted, got 5": lambda: attention.make(5),
        "no attention variant 'swe' (did you mean 'swa'?)": lambda: attention.make("swe"),
        "gives 'windw' which it does not have (did you mean 'window'?)": lambda: attention.make("swa", windw=3),
        "no eviction policy 'h3o' (did you mean 'h2o'?)": lambda: attention.make("evict", policy="h3o"),
        "got '5|x'": lambda: attention.make("routed", spans=(5, "x")),
        "cannot read attention variant 'swa(5'": lambda: attention.parse_layout("swa(5", 4),
        "got 0 entries for 4 layers": lambda: attention.parse_layout([], 4),
        "register takes a subclass of Mixer, Policy, Router, BlockRule, got 'swa'": lambda: attention.register("swa"),
        "span must hold keys in 1..2147483647 per head, a tuple, got 5": lambda: SpanPattern(span=5),
        "per head, a tuple, got (1.5,)": lambda: SpanPattern(span=(1.5,)),
        "per head, a tuple, got (True,)": lambda: SpanPattern(span=(True,)),
        "the pattern has 3 heads, the model has 4": lambda: SpanPattern(span=(1, 2, 3)).per_head(4),
        "n_heads 5 is not a multiple of n_kv_heads 2": lambda: Heads(5, 2, 8),
        "n_heads must be a whole number of at least 0, got -6": lambda: Heads(-6, 2, 8),
        "head_dim must be a whole number of at least 0, got 7.5": lambda: Heads(6, 2, 7.5),
        "capacity_tokens must be a whole number of at least 0, got -1": lambda: swa.cache_tokens(-1),
        "batch must be a whole number of at least 1, got 0": lambda: swa.init_state(heads, 0, 7, jnp.float32),
        "dtype must be one of floats, got int8  ": lambda: swa.init_state(heads, 1, 7, jnp.int8),
        "got tokens=2.5, start=0": lambda: swa.useful(heads, 2.5),
        "got tokens=3, start=-1": lambda: swa.useful(heads, 3, -1),
        # counts, pictures, assertions
        "a model's shape is wanted, such as refmodel.load(...).config, or its name, got 5": lambda: eval.prefill_flops(
            5, 10
        ),
        "no model 'tiny-dens' (did you mean 'tiny-dense'?)": lambda: eval.crossover_tokens("tiny-dens"),
        "tokens must be a whole number of at least 1, got 2.5": lambda: eval.prefill_flops(config, 2.5),
        "chunk_tokens must be a whole number of at least 1, got 0 ": lambda: eval.prefill_flops(
            config, 16, chunk_tokens=0
        ),
        "no count 'all'": lambda: eval.prefill_flops(config, 16, count="all"),
        "no attention implementation 'flsh' ": lambda: eval.prefill_flops(config, 16, impl="flsh"),
        "attention_cost: a number is wanted, got '2'": lambda: eval.crossover_tokens(config, attention_cost="2"),
        "attention_cost must be above 0, got nan": lambda: eval.crossover_tokens(config, attention_cost=np.nan),
        "no convention 'all'": lambda: eval.crossover_tokens(config, convention="all"),
        "arrays, shapes of arrays or numbers, got 'text'": lambda: eval.count_flops(jnp.sin, "text"),
        "no cond policy 'cheap'": lambda: eval.count_flops(jnp.sin, square, cond="cheap"),
        "a variant, such as attention.make(...), is wanted, got 5": lambda: eval.seen_keys(5, 5),
        "tokens must be a whole number of at least 0, got 2.5": lambda: eval.seen_keys(swa, 2.5),
        "n_heads 3 is not a multiple of n_kv_heads 2": lambda: eval.seen_keys(swa, 5, n_heads=3, n_kv_heads=2),
        "is wanted, got 'swa(5)'": lambda: assert_causal("swa(5)"),
        "heads: an attention.cost.Heads is wanted, got 5": lambda: assert_causal(swa, heads=5),
        "no attention implementation 'flsh'  ": lambda: assert_causal(swa, impl="flsh"),
        "a prompt of at least 8 tokens shows what a variant does, got 0": lambda: assert_flops_agree(swa, tokens=0),
        "mask: a function of the layer's input, or None is wanted, got 5": lambda: assert_matches_dense(swa, mask=5),
        "atol: a number is wanted, got 'small'": lambda: assert_matches_dense(swa, atol="small"),
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
