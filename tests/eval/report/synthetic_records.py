"""Records of a comparison that nobody ran: every time and FLOP follows from the constants below.

They are JSON lines as the first comparisons wrote them, without a schema number; `compared` reads them.
"""

from __future__ import annotations

import functools

from attention.layout import parse_layout, parse_variant
from attention.pattern import visible_pairs
from eval.measure.records.decode import from_json
from eval.report.comparison import Comparison
from eval.report.summary import Summary, summarise
from refmodel.presets import preset

CONFIG = preset("smollm2-135m")
LAYOUTS = ("full", "swa(1024)", "5*swa(1024)+full")
LENGTHS = (512, 1024, 2048, 4096, 8192)
LINEAR_MS, LAYER_MS, PAIR_MS, OVERHEAD_MS = 0.1, 1e-4, 1e-6, 20.0
LINEAR_FLOPS, PAIR_FLOPS, HEAD_FLOPS, EXECUTED = 400_000, 4, 5_000_000, 1.25
KL_NATS, PERPLEXITY = {"full": 0.0, "swa(1024)": 0.25, "5*swa(1024)+full": 0.05}, 10.0
ENVIRONMENT = {
    "device_kind": "cpu", "platform": "cpu", "cpu": "Imaginary 9000", "cores": 2, "python": "3.11.9", "jax": "0.10.2",
    "jaxlib": "0.10.2", "flax": "0.12.8", "git_commit": "0123456789abcdef", "git_dirty": False, "xla_flags": "",
}  # fmt: skip


@functools.cache  # asked for by every layer of every record
def pairs(variant: str, tokens: int) -> int:
    return visible_pairs(parse_variant(variant).pattern(), 1, tokens)


def layer_ms(variant: str, tokens: int) -> float:
    """One layer's kernel."""
    return LAYER_MS * tokens + PAIR_MS * pairs(variant, tokens)


def attention_ms(layout: str, tokens: int) -> float:
    return sum(layer_ms(str(variant), tokens) for variant in parse_layout(layout, CONFIG.n_layers))


def whole_ms(layout: str, tokens: int) -> float:
    return OVERHEAD_MS + LINEAR_MS * tokens + attention_ms(layout, tokens)


def layer_flops(variant: str, tokens: int) -> int:
    return PAIR_FLOPS * pairs(variant, tokens)


def attention_flops(layout: str, tokens: int) -> int:
    return sum(layer_flops(str(variant), tokens) for variant in parse_layout(layout, CONFIG.n_layers))


def record(kind: str, layout: str, tokens: int, **more) -> dict:
    common = {"model": CONFIG.name, "device": "cpu", "dtype": "float32", "impl": "blockwise", "weights": "checkpoint"}
    identity = {"kind": kind, "layout": layout, "tokens": tokens, "environment": ENVIRONMENT}
    return {**common, **identity, "status": "ok", "time": "2025-01-01T00:00:00+00:00", **more}


def measured(ms: float, linear_flops: int, attention_flops: int) -> dict:
    """Median `ms`, from 2 % faster to 5 % slower."""
    useful = {"attention": attention_flops} if attention_flops else {}
    if linear_flops:
        useful |= {
            "attention_projections": linear_flops // 4,
            "feed_forward": linear_flops * 3 // 4,
            "head": HEAD_FLOPS,
        }
    return {
        "timing": {"lower_ms": 1.0, "compile_ms": 2.0, "warmup_ms": ms, "samples_ms": [1.05 * ms, ms, 0.98 * ms]},
        "flops": {"useful": useful, "executed": {k: int(EXECUTED * v) for k, v in useful.items()}},
        "memory": {"argument_bytes": 500, "temp_bytes": 1000 + attention_flops, "output_bytes": 1, "rss_peak_bytes": 2},
    }


def quality(layout: str, tokens: int) -> dict:
    kl = KL_NATS[layout]
    halves = ((1, tokens // 2, 0.0), (tokens // 2 + 1, tokens - 1, 2 * kl))
    by_position = [{"first": i, "last": j, "perplexity": PERPLEXITY, "kl_nats": nats} for i, j, nats in halves]
    found = {"perplexity": PERPLEXITY * (1 + kl), "kl_nats": kl, "top1_agreement": 1 - kl, "by_position": by_position}
    return record("quality", layout, tokens, quality=found, text={"name": "a book", "sha256": "abc"}, text_sha256="abc")


def synthetic_records(layouts=LAYOUTS, lengths=LENGTHS, quality_tokens=4096) -> list[dict]:
    variants = dict.fromkeys(str(v) for layout in layouts for v in parse_layout(layout, CONFIG.n_layers))
    found = []
    for n in lengths:
        linear_flops = LINEAR_FLOPS * n
        found.append(record("linear", "full", n, impl="none", **measured(LINEAR_MS * n, linear_flops, 0)))
        found += [
            record("attention", v, n, variant=v, **measured(layer_ms(v, n), 0, layer_flops(v, n))) for v in variants
        ]
        found += [
            record("prefill", x, n, **measured(whole_ms(x, n), linear_flops, attention_flops(x, n))) for x in layouts
        ]
    return found + [quality(layout, quality_tokens) for layout in layouts if quality_tokens]


def slowed(kind, tokens, factor):
    """The newer record of one cell of full attention."""
    cell = [r for r in synthetic_records() if (r["kind"], r["layout"], r["tokens"]) == (kind, "full", tokens)]
    return [r | {"timing": {"samples_ms": [factor * ms for ms in r["timing"]["samples_ms"]]}} for r in cell]


def compared(lines, *, mixed=False) -> Comparison:
    return Comparison(CONFIG, tuple(map(from_json, lines)), mixed=mixed)


def summaries(lines, *, mixed=False) -> tuple[Summary, ...]:
    return summarise(map(from_json, lines), CONFIG, mixed=mixed)


def only(records, **options):
    (summary,) = summaries(records, **options)
    return summary


def names(summary):
    return tuple(layout.name for layout in summary.layouts)


def row(summary, layout, tokens):
    (found,) = (row for row in summary.of(layout) if row.tokens == tokens)
    return found
