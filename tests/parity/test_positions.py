"""Positions and published fields, live: small models of transformers with other weights.

Where the length decides, lengths around the original context; a shorter one is a prefix elsewhere.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import DynamicCache

from refmodel.model import prefill
from refmodel.read_hf_config import from_hf
from refmodel.rope_scaling import Dynamic, LongRope
from tests.checkpoints import load
from tests.golden.make_positions import build, logits, random_tokens
from tests.golden.position_cases import BASES, CASES, ORIGINAL, TOKENS
from tests.golden.real_configs import SHRINK, shrunken

TOLERANCE, SEED = 1e-4, 101
LENGTHS = (ORIGINAL - 5, ORIGINAL, ORIGINAL + 1, TOKENS)
BY_LENGTH = ("dynamic", "longrope")
ALL = {case: BASES[base] | fields for case, (base, fields) in CASES.items()} | {name: shrunken(name) for name in SHRINK}
pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture
def both(request, tmp_path):
    """transformers' model, the description read from its fields, the parameters read from its files."""
    fields = ALL[request.param]
    build(fields, SEED).save_pretrained(tmp_path)
    config = from_hf(fields)
    assert not config.cannot_run
    return lambda: build(fields, SEED), config, load(tmp_path, jnp.float32)[1]


@pytest.mark.parametrize("both", ALL, indirect=True)
def test_every_length_in_one_shot_and_in_chunks(both):
    model, config, params = both
    tokens_bt = random_tokens(config.vocab_size, SEED)
    one_shot = jax.jit(lambda ids: prefill(config, params, ids, logits="all")[0])
    chunks = jax.jit(lambda ids: prefill(config, params, ids, chunk_tokens=7)[0])
    by_length = any(isinstance(layer.rope.scaling, Dynamic | LongRope) for layer in config.layers)
    for tokens in (
        LENGTHS if by_length else LENGTHS[-1:]
    ):  # a fresh model each: transformers keeps what it made of longer sequences
        expected_btv = logits(model(), tokens_bt[:, :tokens])
        assert np.abs(one_shot(tokens_bt[:, :tokens]) - expected_btv).max() < TOLERANCE
        assert np.abs(chunks(tokens_bt[:, :tokens]) - expected_btv[:, -1]).max() < TOLERANCE


def cached(model, tokens_bt, chunk):
    """Logits of transformers fed in chunks with its cache."""
    cache, found = DynamicCache(), []
    with torch.no_grad():
        for start in range(0, tokens_bt.shape[1], chunk):
            part_bt = torch.from_numpy(tokens_bt[:, start : start + chunk]).long()
            found.append(model(part_bt, cache=cache, use_cache=True).logits.numpy())
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("case", ["yarn", "llama3", "linear", *BY_LENGTH])
def test_chunks_of_transformers_are_its_one_shot_unless_the_length_decides(case):
    """What docs/families.md says of transformers: only there does its cache hold keys of another rotation."""
    fields = ALL[case]
    tokens_bt = random_tokens(fields["vocab_size"], SEED)
    one_shot, chunks = logits(build(fields, SEED), tokens_bt), cached(build(fields, SEED), tokens_bt, 7)
    assert (np.abs(one_shot - chunks).max() < TOLERANCE) == (case not in BY_LENGTH)
