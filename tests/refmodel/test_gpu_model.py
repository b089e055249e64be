"""The model in bfloat16 on a GPU against the float32 model on a CPU: `pytest -m gpu` on a machine with one."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.decoder import decoder
from refmodel.model import prefill
from refmodel.parts import ClampedSwish, Experts, Rope
from refmodel.rope_scaling import Yarn
from refmodel.weights.random import random_params
from tests.gpu import TRITON_IS_LEAVING

pytestmark = TRITON_IS_LEAVING

TOKENS = 1024
CONFIG = decoder(
    name="small-moe", n_layers=4, d_model=512, n_heads=8, n_kv_heads=2, head_dim=64, vocab_size=4093, n_experts=16,
    experts_per_token=4, d_expert=256, norm_topk_prob=True, qk_norm=True, tied_head=True,
)  # fmt: skip
LIKE_GPT_OSS = decoder(
    name="small-sinks", n_layers=4, d_model=576, n_heads=16, n_kv_heads=2, head_dim=64, vocab_size=4093, d_ff=320,
    qk_norm=False, attention_bias="qkvo", rope=Rope(150_000.0, Yarn(32.0, 128, truncate=False)), tied_head=True,
).with_each_layer(
    sink_logits=True, feed_forward=Experts(16, 4, 320, activation=ClampedSwish(limit=1.5), bias=True)
)  # fmt: skip
SURE = 7.5
"""Times the embedding, which is the head too: random logits are all about as likely, a trained model's are not."""

LAYOUTS = [
    "full", "swa(128)", "swa(124,sinks=4)", "routed(64|256|full,router=periodic)", "spans(64|full)", "moba(128,topk=2)",
    *(f"evict({policy},budget=128,chunk=256)" for policy in ("keydiff", "h2o")),  # chunks that no dense path takes
]  # fmt: skip


def logits_on(platform: str, layout: str, params, dtype, config=CONFIG) -> np.ndarray:
    tokens_bt = jax.random.randint(jax.random.key(1), (1, TOKENS), 0, config.vocab_size)
    with jax.default_device(jax.devices(platform)[0]):
        params = jax.tree.map(lambda x: jax.device_put(x, jax.devices(platform)[0]).astype(dtype), params)
        run = jax.jit(lambda params, tokens: prefill(config.with_layout(layout), params, tokens, logits="all")[0])
        return np.asarray(run(params, jax.device_put(tokens_bt, jax.devices(platform)[0]))[0], np.float64)


@pytest.mark.gpu
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_on_a_gpu_is_float32_on_a_cpu(layout):
    with jax.default_device(jax.devices("cpu")[0]):
        params = random_params(CONFIG.with_layout(layout), 0, jnp.bfloat16)
        params["embed"]["embedding"] *= SURE
    found = logits_on("gpu", layout, params, jnp.bfloat16)
    exact = logits_on("cpu", layout, params, jnp.float32)
    kl, top1 = divergence(exact, found)
    other = "full" if layout != "full" else "swa(128)"
    kl_of_another, _ = divergence(logits_on("cpu", other, params, jnp.float32), found)
    print(f"{layout}: KL {kl:.2e} nats, top-1 {top1:.4f}; from {other} KL {kl_of_another:.2e}")
    assert kl < 1e-3
    assert kl < kl_of_another / 2  # attention under another layout would be noticed
    assert top1 >= 0.99


@pytest.mark.gpu
def test_sinks_biases_and_a_clamped_gate_are_float32_on_a_cpu():
    """Sinks and biases drawn, which `random_params` leaves at 0; without the sinks the logits would be others."""
    layout = "swa(128)+full"
    with jax.default_device(jax.devices("cpu")[0]):
        params = random_params(LIKE_GPT_OSS.with_layout(layout), 0, jnp.bfloat16)
        params = jax.tree_util.tree_map_with_path(drawn_where_zero, params)
        params["embed"]["embedding"] *= SURE
        sinkless = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.full_like(leaf, -99) if path[-1].key == "sinks" else leaf, params
        )
    found = logits_on("gpu", layout, params, jnp.bfloat16, LIKE_GPT_OSS)
    kl, top1 = divergence(logits_on("cpu", layout, params, jnp.float32, LIKE_GPT_OSS), found)
    kl_sinkless, _ = divergence(logits_on("cpu", layout, sinkless, jnp.float32, LIKE_GPT_OSS), found)
    print(f"KL {kl:.2e} nats, top-1 {top1:.4f}; without sinks KL {kl_sinkless:.2e}")
    assert kl < 1e-3
    assert kl < kl_sinkless / 2
    assert top1 >= 0.99


def drawn_where_zero(path, leaf):
    """A leaf of zeros as normal numbers of the leaf's own."""
    if leaf.any():
        return leaf
    key = jax.random.fold_in(jax.random.key(2), zlib.crc32(jax.tree_util.keystr(path).encode()))
    return jax.random.normal(key, leaf.shape, leaf.dtype) * (3 if path[-1].key == "sinks" else 0.1)


def divergence(exact: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Mean KL(exact || found) in nats and the share of equal top tokens."""
    log_p, log_q = (x - np.logaddexp.reduce(x, axis=-1, keepdims=True) for x in (exact, found))
    kl = (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    return float(kl), float((exact.argmax(-1) == found.argmax(-1)).mean())
