"""The floor under the layouts on the card that this project asks about: another model and machine than was measured."""

from __future__ import annotations

from collections.abc import Sequence

from attention.full import FULL
from eval.cost.cards import CARDS, Card
from eval.cost.fitting_layouts import fitting_layouts
from eval.cost.flops.closed_form import NOT_LINEAR
from eval.cost.flops.traffic import Storage, weight_bytes
from eval.cost.roofline import Assumptions, floor_ms
from eval.report.number_format import count, duration, percent, size
from eval.report.table import Table
from refmodel.config import ModelConfig
from refmodel.presets import preset

FLOOR_MODEL, FLOOR_CARD = "qwen3-30b-a3b", "r9700"
FLOOR_UNDER = Assumptions(storage=Storage(weights="4.5bit"))  # bf16 weights do not fit the card
FLOOR_LENGTHS = tuple(1024 << k for k in range(7))


def floor_table(layouts: Sequence[str]) -> Table:
    """The floor of `FLOOR_MODEL` on `FLOOR_CARD` for full attention and the layouts that fit its layer count."""
    config, card = preset(FLOOR_MODEL), CARDS[FLOOR_CARD]
    fitting, left_out = fitting_layouts(config, layouts)
    models = {FULL: config} | fitting
    parts = {
        layout: [floor_ms(model, tokens, card, FLOOR_UNDER) for tokens in FLOOR_LENGTHS]
        for layout, model in models.items()
    }
    linear_ms = [sum(ms for name, ms in one.items() if name not in NOT_LINEAR) for one in parts[FULL]]
    rows = [("linear layers", *map(duration, linear_ms))]
    for layout, of_lengths in parts.items():
        attention_ms = [ms["attention"] + ms.get("selection", 0) for ms in of_lengths]
        pairs = zip(attention_ms, linear_ms, strict=True)
        rows.append((layout, *(f"{duration(ms)} ({percent(ms / (ms + linear))})" for ms, linear in pairs)))
    note = _floor_note(config, card, parts[FULL][0]["head"])
    if left_out:
        note += f" Left out, for they do not fit {config.n_layers} layers: {', '.join(left_out)}."
    header = ("attention of", *(f"{count(tokens)} tokens" for tokens in FLOOR_LENGTHS))
    return Table(f"Floor: {config.name} on {card.title}", header, tuple(rows), note)


def _floor_note(config: ModelConfig, card: Card, head_ms: float) -> str:
    peak, bandwidth = card.peak_flops_per_s() / 1e12, card.bandwidth_bytes_per_s / 1e9
    stored, in_bf16 = (size(weight_bytes(config, name)) for name in (FLOOR_UNDER.storage.weights, "bf16"))
    return f"**A floor, not a measurement, and not of the model and the machine above**: what these layouts would take \
at the least where {config.name} runs on one {card.title}, the card that this project asks about and never had. The \
time of attention, and its share beside the linear layers; per component the larger of FLOPs over peak \
({peak:.0f} TFLOP/s, bf16) and bytes over bandwidth ({bandwidth:.0f} GB/s). Convention `layers`; the head on the last \
token adds {duration(head_ms)}. Cache in bf16, weights of 4.5 bit ({stored}): the {in_bf16} of bf16 exceed the card's \
{size(card.memory_bytes)}."
