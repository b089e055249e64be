"""What each layout saves and loses, in one sentence."""

from __future__ import annotations

from attention.full import FULL
from eval.report.layout_result import LayoutResult, having
from eval.report.number_format import NOTHING, count, duration, factor, number, percent, samples
from eval.report.summary import Summary


def layout_sentence(summary: Summary, layout: str) -> str:
    """From the longest lengths at which attention and the whole were timed, and the longest text that was read."""
    rows = summary.of(layout)
    timed = [row for row in rows if row.attention_ms or row.whole_ms]
    read = [row for row in rows if row.quality]
    parts = [
        _reference(timed, read) if layout == FULL else _saved(timed),
        "" if layout == FULL else _lost(summary, read),
    ]
    said = "; ".join(part for part in parts if part)
    return f"{said[:1].upper()}{said[1:]}." if said else "Nothing was measured."


def _reference(timed: list[LayoutResult], read: list[LayoutResult]) -> str:
    parts = []
    if timed:
        row = next((row for row in reversed(timed) if row.whole_ms), timed[-1])
        whole = "a prefill was not timed whole"
        if row.whole_ms:
            whole = f"a prefill takes {duration(row.whole_ms.median)} (median of {samples(row.whole_ms)})"
        share = percent(row.share_measured)
        parts.append(
            f"at {count(row.tokens)} tokens {whole}" + ("" if share == NOTHING else f", attention is {share} of it")
        )
    for row, quality in having(read[-1:], lambda one: one.quality):
        parts.append(f"perplexity {quality.perplexity:.3f} over {count(row.tokens)} tokens")
    return "the reference: " + "; ".join(parts) if parts else ""


def _saved(timed: list[LayoutResult]) -> str:
    parts: dict[int, list[str]] = {}  # the whole may fit at shorter prompts alone
    for row in [row for row in timed if row.attention_gain.speed_up][-1:]:
        gain = row.attention_gain
        parts.setdefault(row.tokens, []).append(
            f"attention runs {factor(gain.speed_up)} as fast as full attention for "
            f"{factor(gain.useful_reduction)} fewer useful FLOPs ({percent(gain.realisation)} realised)"
        )
    for row in [row for row in timed if row.whole_gain.speed_up][-1:]:
        parts.setdefault(row.tokens, []).append(f"the whole prefill {factor(row.whole_gain.speed_up)} as fast")
    return "; ".join(f"at {count(tokens)} tokens {', '.join(said)}" for tokens, said in parts.items())


def _lost(summary: Summary, read: list[LayoutResult]) -> str:
    if not read or not (quality := read[-1].quality):
        return ""
    row, kl = read[-1], f"KL {number(quality.kl_nats)} nats"
    reference = {other.tokens: other.quality for other in summary.of(FULL) if other.quality}.get(row.tokens)
    if reference is None:
        return f"perplexity {quality.perplexity:.3f} over {count(row.tokens)} tokens ({kl})"
    change = quality.perplexity / reference.perplexity - 1
    way = "rises" if change >= 0 else "falls"
    return f"perplexity {way} by {percent(abs(change))} over {count(row.tokens)} tokens ({kl})"
