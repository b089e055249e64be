"""What windows and evictions cost SmolLM2 in quality, against figures that torch gave for the same definitions.

The figures were made with transformers' own conversion of the GGUF's tokenizer, one BOS token in front: other ids than
this project's tokenizer gives (`test_tokenizer_over_the_whole_text`), so the ids are made the same way here.
"""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import pytest

from eval.quality.divergence import final_hidden, per_token, summarise
from refmodel.default_model import default_gguf, default_text
from tests.checkpoints import load

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow
TOKENS = 4096
PUBLISHED = json.loads(Path(__file__).with_name("quality_table.json").read_text())


@pytest.fixture(scope="module")
def read():
    """(config, params, token ids, final hidden states of full attention)."""
    path = default_gguf()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    config, params = load(path, jnp.float32)
    ids = [tokenizer.bos_token_id, *tokenizer(default_text(), add_special_tokens=False)["input_ids"]]
    assert len(ids) == PUBLISHED["text_tokens"], "another text: pydoc_data differs between Python versions"
    tokens_t = jnp.asarray(ids[:TOKENS], jnp.int32)
    return config, params, tokens_t, final_hidden(config, params, tokens_t)


@pytest.mark.parametrize("layout", PUBLISHED["layouts"])
def test_perplexity_and_divergence_are_those_of_torch(read, layout):
    """Within 1 %, or half of the last digit that was published."""
    config, params, tokens_t, full_td = read
    variant_td = final_hidden(config.with_layout(layout), params, tokens_t)
    found = summarise(per_token(config, params, tokens_t, full_td, variant_td))
    expected = PUBLISHED["layouts"][layout]
    assert found.perplexity == pytest.approx(expected["perplexity"], rel=0.01)
    assert found.kl_nats == pytest.approx(expected["kl_nats"], rel=0.01, abs=0.0005)
    assert found.top1_agreement == pytest.approx(expected["top1_agreement"], abs=0.005)
