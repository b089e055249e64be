"""Golden files of indexed attention: small layers of transformers with random weights, whom their queries read, and
what comes of it.  Needs torch and transformers 5.24.

python -m tests.golden.make_indexed     rewrites indexed/ beside this file, from fixed seeds
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, Final

import numpy as np
import torch

from tests.golden.indexed_cases import (
    BATCH,
    D_MODEL,
    DIM,
    HEAD_DIM,
    N_HEADS,
    N_KV_HEADS,
    ROTATED,
    THETA,
    TOKENS,
    VARIANTS,
)

HERE: Final = Path(__file__).parent / "indexed"
_SIZES: Final = {
    "hidden_size": D_MODEL, "num_attention_heads": N_HEADS, "num_key_value_heads": N_KV_HEADS, "head_dim": HEAD_DIM,
    "attention_dropout": 0.0, "attention_bias": False, "rms_norm_eps": 1e-6, "_attn_implementation": "eager",
}  # fmt: skip


def angles() -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin as transformers' layers take them, [1, T, R]."""
    frequency = THETA ** (-torch.arange(0, ROTATED, 2) / ROTATED)
    angle = torch.arange(TOKENS)[:, None] * frequency
    both = torch.cat([angle, angle], dim=-1)[None]
    return both.cos(), both.sin()


def drawn(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Its weights of unit variance by fan-in, vectors of order 1."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        scale = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.3
        parameter.data = scale * torch.randn(parameter.shape, generator=generator)
    return module.eval()


@contextlib.contextmanager
def recorded(module: ModuleType) -> Iterator[dict[str, torch.Tensor]]:
    """What the attention of a layer of `module` is given, and what it gives."""
    found: dict[str, torch.Tensor] = {}
    plain = module.eager_attention_forward

    def record(
        layer: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, **options: Any
    ) -> Any:
        out, weights = plain(layer, q, k, v, mask, **options)
        mask = mask.expand(BATCH, N_HEADS, TOKENS, TOKENS) == 0
        found.update({name: x.transpose(1, 2) for name, x in (("q", q), ("k", k), ("v", v))}, mask=mask, out=out)
        return out, weights

    module.eager_attention_forward = record
    try:
        yield found
    finally:
        module.eager_attention_forward = plain


def msa(x: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """MiniMax-M3's attention."""
    module = importlib.import_module("transformers.models.minimax_m3_vl.modeling_minimax_m3_vl")
    variant = VARIANTS["msa"]
    sizes = SimpleNamespace(
        **_SIZES, layer_types=["minimax_m3_sparse"], index_n_heads=N_KV_HEADS, index_head_dim=DIM,
        index_block_size=variant.block, index_topk_blocks=variant.topk, index_local_blocks=1,
    )  # fmt: skip
    layer = drawn(module.MiniMaxM3VLAttention(sizes, 0), seed)
    with recorded(module) as found:
        layer(x, angles(), None, position_ids=torch.arange(TOKENS)[None])
    index = layer.indexer
    return found | {
        f"index_q_{N_KV_HEADS}x{DIM}": index.q_proj.weight.T, f"index_k_{DIM}": index.k_proj.weight.T,
        f"index_q_norm_{DIM}": 1 + index.q_norm.weight, f"index_k_norm_{DIM}": 1 + index.k_norm.weight,
    }  # fmt: skip


def qsa(x: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """Qwen4-Exp's attention."""
    module = importlib.import_module("transformers.models.qwen4_exp.modeling_qwen4_exp")
    variant = VARIANTS["qsa"]
    sizes = SimpleNamespace(
        **_SIZES, indexer_n_heads=variant.heads, indexer_kv_heads=1, indexer_head_dim=DIM,
        indexer_budget=variant.budget, indexer_compress_ratio=variant.pool,
    )  # fmt: skip
    layer = drawn(module.Qwen4ExpTextAttention(sizes, 0), seed)
    causal = torch.full((TOKENS, TOKENS), torch.finfo(torch.float32).min).triu(1).expand(BATCH, 1, TOKENS, TOKENS)
    cos, sin = (one.expand(BATCH, -1, -1) for one in angles())
    with recorded(module) as found:
        layer(x, (cos, sin), causal)
    index = layer.indexer
    q, k = index.index_qk_proj.weight.T.split([variant.heads * DIM, DIM], dim=1)
    return found | {
        f"index_q_{variant.heads}x{DIM}": q, f"index_k_{DIM}": k,
        f"index_q_norm_{DIM}": 1 + index.q_layernorm.weight, f"index_k_norm_{DIM}": 1 + index.k_layernorm.weight,
    }  # fmt: skip


def dsa(x: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """DeepSeek-V3.2's indexer, its low-rank query the layer's input; attention of random heads to what it chose."""
    module = importlib.import_module("transformers.models.deepseek_v32.modeling_deepseek_v32")
    variant = VARIANTS["dsa"]
    sizes = SimpleNamespace(
        hidden_size=D_MODEL, index_n_heads=variant.heads, index_head_dim=DIM, qk_rope_head_dim=ROTATED,
        index_topk=variant.k, q_lora_rank=D_MODEL,
    )  # fmt: skip
    index = drawn(module.DeepseekV32Indexer(sizes, 0), seed)
    causal = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
    chosen = index(x, x, angles(), causal.expand(BATCH, -1, -1), torch.arange(TOKENS)[None])
    mask = (torch.zeros(BATCH, TOKENS, TOKENS, dtype=torch.bool).scatter(2, chosen.long(), True) & causal)[:, None]
    generator = torch.Generator().manual_seed(seed + 1)
    q, k, v = (torch.randn(BATCH, TOKENS, n, HEAD_DIM, generator=generator) for n in (N_HEADS, N_KV_HEADS, N_KV_HEADS))
    heads = (one.transpose(1, 2) for one in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask, enable_gqa=True).transpose(1, 2)
    return {
        "q": q, "k": k, "v": v, "out": out, "mask": mask.expand(-1, N_HEADS, -1, -1),
        f"index_q_{variant.heads}x{DIM}": index.wq_b.weight.T, f"index_k_{DIM}": index.wk.weight.T,
        f"index_weight_{variant.heads}": index.weights_proj.weight.T,
        f"index_k_norm_{DIM}": index.k_norm.weight, f"index_k_bias_{DIM}": index.k_norm.bias,
    }  # fmt: skip


OF: Final[Mapping[str, Callable[[torch.Tensor, int], dict[str, torch.Tensor]]]] = MappingProxyType(
    {"msa": msa, "dsa": dsa, "qsa": qsa}
)


def case(name: str, seed: int) -> dict[str, np.ndarray]:
    """Operands, parameters, whom each query reads and the result, of random input."""
    x = torch.randn(BATCH, TOKENS, D_MODEL, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return {key: value.numpy() for key, value in ({"x": x} | OF[name](x, seed)).items()}


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for i, name in enumerate(VARIANTS):
        np.savez_compressed(HERE / f"{name}.npz", **case(name, 11 + i))


if __name__ == "__main__":
    main()
