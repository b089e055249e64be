"""The eviction policies that a layout can name; one of your own comes in by `attention.register`."""

from __future__ import annotations

from typing import Final

from attention.eviction.adakv import AdaKV
from attention.eviction.expected_attention import ExpectedAttention
from attention.eviction.h2o import H2O
from attention.eviction.keydiff import KeyDiff
from attention.eviction.knorm import Knorm
from attention.eviction.lagkv import LagKV
from attention.eviction.policy import Policy
from attention.eviction.pyramidkv import PyramidKV
from attention.eviction.random import Random
from attention.eviction.snapkv import SnapKV
from attention.eviction.streaming import Streaming
from attention.eviction.tova import Tova
from attention.registry import Registry

POLICIES: Final[Registry[type[Policy]]] = Registry(
    "eviction policy",
    lambda policy: policy.name,
    (Streaming, H2O, Tova, SnapKV, PyramidKV, AdaKV, KeyDiff, Knorm, ExpectedAttention, LagKV, Random),
)
