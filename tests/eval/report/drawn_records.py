"""Records of a comparison in which no two figures are alike, so that one in the place of another shows.

Every cell draws its own times, FLOPs, memory and quality; only the times keep to a curve, roughly, for the fit.
"""

from __future__ import annotations

import itertools

import numpy as np

from attention.layout import parse_layout
from tests.eval.report.synthetic_records import CONFIG, ENVIRONMENT, record

FULL, WINDOW, MIXED = LAYOUTS = ("full", "swa(1024)", "5*swa(1024)+full")
LENGTHS = (512, 1024, 2048, 4096, 8192)
FAILED, APART, READ = 16_384, 4096, (2048, 4096)
PERPLEXITY = {FULL: 20.0, WINDOW: 22.2, MIXED: 19.1}  # one falls
WHOLE = {WINDOW: (0.9, 0.7, 1.6, 0.55, 0.5), MIXED: (1.5, 1.2, 0.9, 0.8, 0.75)}
"""Of full attention's time at each length: faster than it, then slower, then faster for good."""
USEFUL = {FULL: (1.0,) * 5, WINDOW: (1.0, 0.8, 0.6, 0.35, 0.2)}  # the first saves nothing
H100, CPU = "NVIDIA H100 80GB HBM3", "cpu"


def layer_ms(variant: str, tokens: int) -> float:
    """One layer's kernel, before noise."""
    seen = tokens**2 if variant == FULL else 1024 * (2 * tokens - 1023) if tokens > 1024 else tokens**2
    return 4e-4 * tokens + 5e-7 * seen


def drawn_records(device: str = H100, seed: int = 11) -> list[dict]:
    """JSON lines of one run on `device`, the failed and the layer by layer ones last."""
    rng = np.random.default_rng(seed)

    def timed(ms: float) -> dict:
        """An odd or an even number of samples, the slowest far from the fastest."""
        ms *= np.exp(0.03 * rng.standard_normal())
        samples = ms * rng.uniform(0.9, 1.3, rng.integers(3, 7))
        return {"timing": {"lower_ms": 1.0, "compile_ms": 2.0, "warmup_ms": ms, "samples_ms": samples.tolist()}}

    def counted(useful: dict[str, float]) -> dict:
        """What ran is more than what is useful, by another factor in each part."""
        ran = {name: int(flops * rng.uniform(1.1, 1.9)) for name, flops in useful.items()}
        sizes = dict(zip(("argument_bytes", "temp_bytes", "output_bytes", "rss_peak_bytes"),
                         rng.integers(10**8, 10**10, 4).tolist(), strict=True))  # fmt: skip
        return {"flops": {"useful": {k: int(v) for k, v in useful.items()}, "executed": ran}, "memory": sizes}

    def linear(n: int) -> dict[str, float]:
        return {"attention_projections": rng.uniform(3e5, 4e5) * n, "feed_forward": 7e5 * n, "head": 6e7}

    found = []
    for place, n in enumerate(LENGTHS):
        found.append(record("linear", FULL, n, impl="none", **timed(0.11 * n + 7), **counted(linear(n))))
        for v, share in USEFUL.items():
            attention = {"attention": 3e3 * n**2 * share[place]}
            found.append(record("attention", v, n, variant=v, **timed(layer_ms(v, n)), **counted(attention)))
        whole_ms = 1.2 * (0.11 * n + 30 * layer_ms(FULL, n))
        for layout in LAYOUTS:
            ms = whole_ms * (WHOLE[layout][place] if layout in WHOLE else 1.0)
            layers = [str(v) for v in parse_layout(layout, CONFIG.n_layers)]
            attention = {"attention": sum(3e3 * n**2 * USEFUL[v][place] for v in layers)}
            found.append(record("prefill", layout, n, **timed(ms), **counted(linear(n) | attention)))
    found += [read(layout, n, rng) for n in READ for layout in LAYOUTS]
    found.append(record("prefill", FULL, FAILED, status="out-of-memory", error="no room"))
    found.append(record("apart", MIXED, APART, timing={"samples_ms": [777.0]}))
    where = {"dtype": "bfloat16", "device": device, "environment": ENVIRONMENT | {"device_kind": device}}
    return [one | where for one in found]


def read(layout: str, tokens: int, rng: np.random.Generator) -> dict:
    """What a text of so many tokens told of a layout."""
    kl = 0.0 if layout == FULL else rng.uniform(0.05, 0.4)
    edges = (1, tokens // 3, tokens // 2, tokens)
    by_position = [
        {"first": a, "last": b - 1, "perplexity": rng.uniform(15, 25), "kl_nats": kl * rng.uniform(0.3, 2)}
        for a, b in itertools.pairwise(edges)
    ]
    found = {"perplexity": PERPLEXITY[layout] * (1 + 1e-5 * tokens), "kl_nats": kl,
             "top1_agreement": rng.uniform(0.7, 0.99), "by_position": by_position}  # fmt: skip
    return record("quality", layout, tokens, quality=found, text={"name": "a book", "sha256": "abc"})
