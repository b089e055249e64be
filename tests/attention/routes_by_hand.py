"""What each router chooses, token by token in NumPy's float64 and Python's whole numbers."""

from __future__ import annotations

import numpy as np

from attention.token_routed import Routed
from attention.variant import LayerInput

WORD = 0xFFFFFFFF


def routes_by_hand(variant: Routed, layer: LayerInput) -> np.ndarray:
    """[B, M, T], where slots are positions and rows share theirs."""
    router, n_routes, (batch, tokens) = variant.router, len(variant.spans), layer.x_btd.shape[:2]
    x_btd, k_bskh = (np.asarray(x, np.float64) for x in (layer.x_btd, layer.k_bskh))
    units = {"layer": 1, "group": k_bskh.shape[2], "head": layer.q_btnh.shape[2]}[variant.per]
    route = np.zeros((batch, units, tokens), int)
    for b, unit, t in np.ndindex(route.shape):
        position = int(layer.q_pos_bt[0, t])
        if router.name == "periodic":
            route[b, unit, t] = (position + unit) % n_routes
        elif router.name == "random":
            route[b, unit, t] = hashed(router.seed, int(layer.depth), unit, position) % n_routes
        elif router.name == "linear":
            (weight,) = layer.params.values()
            scores = x_btd[b, t] @ np.asarray(weight, np.float64)
            route[b, unit, t] = scores.reshape(units, n_routes)[unit].argmax()
        else:
            norms = np.linalg.norm(k_bskh[b, position], axis=-1)
            norm = norms.mean() if variant.per == "layer" else norms[unit * len(norms) // units]
            route[b, unit, t] = min(int(norm / router.threshold), n_routes - 1)
    return route


def hashed(seed: int, *words: int) -> int:
    """The finaliser of MurmurHash3 (`fmix32`), once for the seed's complement and once more for each word."""
    state = mixed(~seed & WORD)
    for word in words:
        state = mixed(state ^ word)
    return state


def mixed(x: int) -> int:
    x = (x ^ x >> 16) * 0x85EBCA6B & WORD
    x = (x ^ x >> 13) * 0xC2B2AE35 & WORD
    return x ^ x >> 16
