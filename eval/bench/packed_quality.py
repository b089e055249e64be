"""What weights of few bits cost a trained model: perplexity on a text, and divergence from its float32 weights.

    python -m eval.bench.packed_quality --out FOLDER

Every format multiplies in float32, so that the weights' own rounding is all that differs.  `kept` is what the file has.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from eval.bench.chain import invocation
from eval.measure.default_sweep import QUALITY_TOKENS, default_text
from eval.measure.records import json_lines
from eval.measure.records.environment import environment, now
from eval.quality.divergence import LOGITS_TOKENS, final_hidden
from refmodel.default_model import DEFAULT_MODEL
from refmodel.model import Params, unembed
from refmodel.source import open_model
from refmodel.specification import ModelConfig


class Worth(NamedTuple):
    """Of a format: perplexity, mean KL(float32 || format) in nats, share of tokens with the same likeliest one."""

    perplexity: float
    kl_nats: float
    top1_agreement: float


def worth(config: ModelConfig, reference: Params, packed: Params, tokens_t: jax.Array) -> Worth:
    """Of `packed` weights beside those they were packed from, over one pass over a text."""
    hidden = final_hidden(config, reference, tokens_t), final_hidden(config, packed, tokens_t)
    compared = jax.jit(partial(_compare, config))
    parts = [
        compared(reference, packed, tokens_t[i + 1 : j + 1], *(one[i:j] for one in hidden))
        for i in range(0, len(tokens_t) - 1, LOGITS_TOKENS)
        for j in [min(i + LOGITS_TOKENS, len(tokens_t) - 1)]
    ]
    nll, kl, agrees = (np.concatenate(figure, dtype=np.float64) for figure in zip(*parts, strict=True))
    return Worth(float(np.exp(nll.mean())), float(kl.mean()), float(agrees.mean()))


def _compare(
    config: ModelConfig, reference: Params, packed: Params, targets_t: jax.Array, of_td: jax.Array, packed_td: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of each target: negative log likelihood, divergence, agreement."""
    logits_tv = unembed(config, reference, of_td), unembed(config, packed, packed_td)
    log_tv, packed_log_tv = (jax.nn.log_softmax(one) for one in logits_tv)
    nll = optax.losses.softmax_cross_entropy_with_integer_labels(logits_tv[1], targets_t)
    kl = optax.losses.kl_divergence_with_log_targets(packed_log_tv, log_tv)
    return nll, kl, log_tv.argmax(-1) == packed_log_tv.argmax(-1)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="with weights and a tokenizer (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=QUALITY_TOKENS, help="of Python's manual (default: %(default)s)")
    parser.add_argument(
        "--weights", nargs="+", default=["kept", "int8", "fp8", "int4", "int4(64)", "int4(192)"], help="formats"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="appends to FOLDER/records.jsonl")
    given = parser.parse_args(argv)
    plain = open_model(given.model)
    tokens_t = plain.encode(default_text())[0, : given.tokens]
    about: dict[str, Any] = {
        "kind": "weights_quality", "model": given.model, "tokens": len(tokens_t), "time": now(),
        "invocation": invocation(__spec__.name), **dataclasses.asdict(environment()),
    }  # fmt: skip
    for name in (None, *given.weights):
        model = plain if name is None else open_model(given.model, jnp.float32, weights=name)
        found, held = worth(plain.config, plain.params, model.params, tokens_t), model.held
        record = {"weights": name or "float32", "bits": held.bits_per_weight, "weight_bytes": held.n_bytes}
        json_lines.append(given.out / "records.jsonl", about | record | found._asdict())
        print(
            f"{record['weights']:<10} {held.bits_per_weight:6.2f} bits {held.n_bytes / 1e6:8.1f} MB  perplexity "
            f"{found.perplexity:8.3f}  KL {found.kl_nats:.5f} nats  same top token {100 * found.top1_agreement:.1f} %"
        )


if __name__ == "__main__":
    main()
