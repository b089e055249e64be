"""A real model: transformers and this project read the same GGUF file of SmolLM2-135M-Instruct."""

from __future__ import annotations

import re
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.default_model import default_gguf, default_text
from refmodel.generate import generate
from refmodel.model import prefill
from tests.checkpoints import load, load_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow
NEW_TOKENS = 24
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
]


@pytest.fixture(scope="module")
def ours():
    return load(default_gguf(), jnp.float32)


@pytest.fixture(scope="module")
def theirs():
    path = default_gguf()
    return transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(default_gguf())


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_continuation(ours, theirs, tokenizer, prompt):
    tokens_bt = np.array([tokenizer.encode(prompt).ids])
    with torch.no_grad():
        expected_bt = theirs.generate(
            torch.from_numpy(tokens_bt), attention_mask=torch.ones(tokens_bt.shape), max_new_tokens=NEW_TOKENS,
            do_sample=False,
        )  # fmt: skip
    expected = expected_bt[0, tokens_bt.shape[1] :].tolist()
    assert len(expected) == NEW_TOKENS, "the prompt must not make the model stop early"
    assert generate(*ours, jnp.asarray(tokens_bt), NEW_TOKENS)[0].tolist() == expected


def test_perplexity(ours, theirs, tokenizer):
    config, params = ours
    tokens_bt = np.array([tokenizer.encode(default_text()).ids[:2048]])

    @jax.jit
    def mean_nll(params, tokens_bt):
        logits_btv, _ = prefill(config, params, tokens_bt, logits="all")
        log_p_btv = jax.nn.log_softmax(logits_btv[:, :-1])
        return -jnp.take_along_axis(log_p_btv, tokens_bt[:, 1:, None], axis=-1).mean()

    with torch.no_grad():
        logits_tv = theirs(torch.from_numpy(tokens_bt)).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits_tv, torch.from_numpy(tokens_bt[0, 1:]))
    assert np.exp(mean_nll(params, tokens_bt)) == pytest.approx(np.exp(expected.item()), rel=1e-4)


def test_tokenizer_over_the_whole_text(tokenizer):
    """transformers ignores the split that a GGUF file names (`smollm`: each digit alone, before words are made).

    So it gets the text already cut at the digits; everything else is its own.
    """
    path = default_gguf()
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    stretches = [stretch for stretch in re.split(r"(\d)", default_text()) if stretch]
    expected = chain.from_iterable(theirs(stretches, add_special_tokens=False)["input_ids"])
    assert tokenizer.encode(default_text()).ids == list(expected)
