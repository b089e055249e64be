"""Named model shapes, from the models' published config.json files."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from attention.unknown import unknown
from refmodel.config import ModelConfig


def _qwen3_moe(name: str, n_layers: int, d_model: int, n_heads: int, d_expert: int) -> ModelConfig:
    return ModelConfig(
        name=name, n_layers=n_layers, d_model=d_model, n_heads=n_heads, n_kv_heads=4, head_dim=128,
        vocab_size=151_936, n_experts=128, experts_per_token=8, d_expert=d_expert, rope_theta=1e6,
    )  # fmt: skip


def _qwen3(size: str, n_layers: int, d_model: int, n_heads: int, d_ff: int, tied_head: bool) -> ModelConfig:
    return ModelConfig(
        name=f"qwen3-{size}", n_layers=n_layers, d_model=d_model, n_heads=n_heads, n_kv_heads=8, head_dim=128,
        vocab_size=151_936, d_ff=d_ff, tied_head=tied_head, rope_theta=1e6,
    )  # fmt: skip


_ALL: Final = (
    _qwen3_moe("qwen3-30b-a3b", 48, 2048, 32, 768),
    _qwen3_moe("qwen3-235b-a22b", 94, 4096, 64, 1536),
    _qwen3("0.6b", 28, 1024, 16, 3072, tied_head=True),
    _qwen3("1.7b", 28, 2048, 16, 6144, tied_head=True),
    _qwen3("4b", 36, 2560, 32, 9728, tied_head=True),
    _qwen3("8b", 36, 4096, 32, 12_288, tied_head=False),
    _qwen3("14b", 40, 5120, 40, 17_408, tied_head=False),
    _qwen3("32b", 64, 5120, 64, 25_600, tied_head=False),
    ModelConfig(
        name="smollm2-135m", n_layers=30, d_model=576, n_heads=9, n_kv_heads=3, head_dim=64, vocab_size=49_152,
        d_ff=1536, qk_norm=False, tied_head=True, rope_theta=100_000.0, norm_eps=1e-5, max_positions=8192,
    ),
    ModelConfig(
        name="tiny-dense", n_layers=4, d_model=48, n_heads=6, n_kv_heads=2, head_dim=16, vocab_size=257, d_ff=80,
        tied_head=True,
    ),
    ModelConfig(
        name="tiny-moe", n_layers=4, d_model=48, n_heads=6, n_kv_heads=2, head_dim=16, vocab_size=257, n_experts=11,
        experts_per_token=3, d_expert=24,
    ),
)  # fmt: skip

PRESETS: Final[MappingProxyType[str, ModelConfig]] = MappingProxyType({config.name: config for config in _ALL})


def preset(name: str) -> ModelConfig:
    """The named shape, or a `ValueError` that lists them."""
    if name not in PRESETS:
        raise ValueError(unknown("model preset", name, PRESETS))
    return PRESETS[name]
