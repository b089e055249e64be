"""What kvpress computes: logits, and the positions that each head of each layer holds.  Needs torch and kvpress.

kvpress 0.5.5 agrees with the rule of `attention.evict.Evict` when it is driven chunk by chunk, once these are minded:
it leaves the cache in the order of the scores, so it is sorted here; it does not know the norm of Qwen3-MoE's queries;
positions must be given, as the cache says how many keys are left, not how many tokens there were.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import kvpress
import kvpress.utils
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeAttention

from tests.golden.eviction.compare import BUDGET, CHUNK, LAG, PROMPT, RECENT, SINKS, TOKENS

PRESSES: Final[MappingProxyType[str, tuple[type, dict[str, Any]]]] = MappingProxyType({
    "streaming": (kvpress.StreamingLLMPress, {"n_sink": SINKS}),
    "snapkv": (kvpress.SnapKVPress, {"window_size": RECENT}),
    "tova": (kvpress.TOVAPress, {}),
    "knorm": (kvpress.KnormPress, {}),
    "keydiff": (kvpress.KeyDiffPress, {}),
    "expected_attention": (kvpress.ExpectedAttentionPress, {"n_sink": SINKS}),
    "lagkv": (kvpress.LagKVPress, {"n_sink": SINKS, "lag_size": LAG}),
    "pyramidkv": (kvpress.PyramidKVPress, {"window_size": RECENT, "beta": 2}),
    "adakv": (kvpress.SnapKVPress, {"window_size": RECENT}),
})  # fmt: skip


class Run(NamedTuple):
    """Logits [B, T, V], and the positions held: per layer [B, K, n], ascending, -1 where a head holds fewer."""

    logits: np.ndarray
    positions: list[np.ndarray]


class _Ledger:
    """Which position each slot of each layer holds; kvpress moves keys and does not say which."""

    def __init__(self) -> None:
        self.start = 0  # of the step under way
        self.positions: dict[int, torch.Tensor] = defaultdict(lambda: torch.zeros(0, dtype=torch.long))

    def append(self, layer: int, keys: torch.Tensor, n_tokens: int) -> None:
        new = torch.arange(self.start, self.start + n_tokens).expand(*keys.shape[:2], n_tokens)
        old = self.positions[layer]
        self.positions[layer] = torch.cat([old, new], dim=-1) if old.numel() else new

    def sort(self, layer: int, before: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> tuple:
        """`keys` and `values`, chosen from `before`, in the order in which they stood there."""
        same = (keys[:, :, :, None] == before[:, :, None]).all(-1)
        assert (same.sum(-1) == 1).all(), "keys must differ from each other"
        index, order = same.int().argmax(-1).sort(-1)
        self.positions[layer] = self.positions[layer].gather(2, index)
        order = order[..., None].expand(keys.shape)
        return keys.gather(2, order), values.gather(2, order)


def run(folder: Path, policy: str, tokens_bt: np.ndarray, *, in_chunks: bool) -> Run:
    """All tokens through the model in `folder`: in chunks with an event after each, or one event after the prompt.

    The last tokens, from `PROMPT` on, come after the last event, one by one: a single query sees all that is held, so
    that no mask is made, which would be one for all layers, and some hold other numbers of keys.
    """
    logging.getLogger("kvpress").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    kvpress.utils.Qwen3Attention = (Qwen3Attention, Qwen3MoeAttention)
    implementation = "sdpa" if policy in ("adakv", "pyramidkv") else "eager"  # eager makes masks for one query too
    model = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation=implementation, experts_implementation="eager"
    ).eval()
    make, options = PRESSES[policy]
    ledger, press = _Ledger(), make(**options)
    if in_chunks:
        size, driver = CHUNK, kvpress.DecodingPress(press, compression_interval=1, target_size=BUDGET)
    else:
        press.compression_ratio = 1 - (BUDGET + 0.5) / PROMPT  # int() of the kept part is BUDGET
        size, driver = PROMPT, kvpress.AdaKVPress(press) if policy == "adakv" else press
    _record(driver, ledger)

    cache, logits = DynamicCache(config=model.config), []
    tokens = torch.from_numpy(tokens_bt).long()
    starts = [*range(0, PROMPT, size), *range(PROMPT, TOKENS)]
    for start, end in zip(starts, [*starts[1:], TOKENS], strict=True):
        ledger.start = start
        decodes = start >= PROMPT
        with torch.no_grad(), nullcontext() if decodes else driver(model):
            position_ids = torch.arange(start, end)[None]
            logits.append(model(tokens[:, start:end], past_key_values=cache, position_ids=position_ids).logits)
        if decodes or (in_chunks and start == 0):  # where no press ran
            for layer in range(model.config.num_hidden_layers):
                ledger.append(layer, cache.layers[layer].keys, end - start)
    positions = [_ascending(ledger.positions[layer]).numpy() for layer in sorted(ledger.positions)]
    return Run(torch.cat(logits, dim=1).numpy(), positions)


def _record(driver: kvpress.BasePress, ledger: _Ledger) -> None:
    """Makes a press keep the ledger, and its cache in order of position."""
    compress = driver.compress

    def compress_in_order(module, hidden_states, keys, values, attentions, kwargs):
        layer = module.layer_idx
        ledger.append(layer, keys, kwargs["hidden_states"].shape[1])
        chosen = compress(module, hidden_states, keys, values, attentions, kwargs)
        if isinstance(driver, kvpress.AdaKVPress):
            ledger.positions[layer] = _unmasked(module.masked_key_indices, ledger.positions[layer])
            return chosen
        return ledger.sort(layer, keys, *chosen)

    driver.compress = compress_in_order


def _unmasked(masked: Iterable[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
    """Ada-KV leaves keys where they are and says which are hidden: -1 for those."""
    positions = positions.clone()
    positions[tuple(masked)] = -1
    return positions


def _ascending(positions: torch.Tensor) -> torch.Tensor:
    positions = torch.where(positions < 0, 10**9, positions).sort(-1).values
    return torch.where(positions == 10**9, -1, positions)
