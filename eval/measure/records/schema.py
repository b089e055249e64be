"""What a measurement is on disk: the record of one cell of a sweep.

A line of `records.jsonl` is one `Record` as JSON, its `run` spread out, with the number of the schema that it follows;
`eval.measure.records.decode` reads the lines of every schema there has been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from eval.measure.records.environment import Environment
from eval.measure.timing import Timing
from eval.quality.text_quality import TextQuality

SCHEMA: Final = 2
"""Of the records that are written; lines without a number are of 0."""

Kind = Literal["linear", "attention", "prefill", "apart", "quality"]
Status = Literal["ok", "failed", "out-of-memory"]

NO_IMPL: Final = "none"
"""`impl` of a record in which no attention kernel ran."""

UNTOLD: Final = "useful, it does not tell"
"""Where executed FLOPs come from that a backend does not tell: no table shows them."""


@dataclass(frozen=True)
class FlopCounts:
    """FLOPs by component.

    Attributes:
        useful: of visible pairs, and of choosing them.
        executed: of the tiles that a program computes, in closed form; on a GPU attention and choosing as
            `Findings.executed_from` says by backend.  The useful ones again where that says `UNTOLD`.
    """

    useful: Mapping[str, int]
    executed: Mapping[str, int]


@dataclass(frozen=True)
class ProgramMemory:
    """What the compiler planned, and the process's peak while the program ran; None where it was not told."""

    argument_bytes: int | None = None
    temp_bytes: int | None = None
    output_bytes: int | None = None
    rss_peak_bytes: int | None = None


@dataclass(frozen=True)
class TextSource:
    """Which text was read."""

    name: str
    sha256: str


@dataclass(frozen=True)
class LayerTime:
    """A distinct layer of a model, how many the layout has, and what one takes."""

    layer: str
    count: int
    ms: float


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found in a cell; which of these there are, its kind says.

    Attributes:
        timing: of one call; of layers apart its one sample is the sum over the layers.
        calls_per_sample: calls of a kernel that one sample went through, one after the other.
        executed_from: by implementation, where the executed FLOPs come from; on a CPU only that it does not tell.
        layers, parts, ends_ms: of layers apart: each distinct layer, the timing of each program, and the time of what
            is outside the layers.
        layouts: of the linear part: all layouts that share it.
    """

    timing: Timing | None = None
    flops: FlopCounts | None = None
    memory: ProgramMemory | None = None
    quality: TextQuality | None = None
    calls_per_sample: int = 1
    executed_from: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    layers: tuple[LayerTime, ...] = ()
    parts: Mapping[str, Timing] = field(default_factory=lambda: MappingProxyType({}))
    ends_ms: float | None = None
    layouts: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunInfo:
    """What all records of a run share.

    Attributes:
        batch: prompts of one length that go through the model at once; times, FLOPs and memory are of all of them.
        weights: whose they are and, where they are packed, in which formats: "checkpoint, int4(32)".
        invocation: the command or the call that measured them.
        weight_bits, weight_bytes: of a weight, and of all, as they are held; None in records before they were,
            bytes also of layers apart, which are not all.
        config_digest, params_digest, code_digest: of the model's description, of its parameters and of the project's
            Python (`eval.measure.records.identity`); None in records before schema 2.
    """

    model: str
    weights: str
    device: str
    dtype: str
    environment: Environment
    invocation: str | None = None
    config_digest: str | None = None
    params_digest: str | None = None
    code_digest: str | None = None
    weight_bits: float | None = None
    weight_bytes: int | None = None
    batch: int = 1


@dataclass(frozen=True, kw_only=True)
class Record(Findings):
    """One measured cell.

    Attributes:
        layout: as spelled; of kind `attention` the variant of one layer.
        impl: the implementations of attention that ran, `NO_IMPL` for none; `asked` is what was asked for.
        text: what was read; of kind `quality`.
        time: UTC, ISO 8601.
        layout_digest, tokens_digest: of the variants with all their parameters, and of the token ids that went in; None
            in records before schema 2.
    """

    run: RunInfo
    kind: Kind
    layout: str
    tokens: int
    impl: str
    asked: str
    time: str
    status: Status
    error: str = ""
    text: TextSource | None = None
    layout_digest: str | None = None
    tokens_digest: str | None = None

    @property
    def cell(self) -> Cell:
        """Which cell of which sweep this is."""
        return cell_of(self.run, self.kind, self.layout, self.tokens, self.impl, self.text)


Cell = tuple[str | int | None, ...]
"""What makes two records the same cell of a sweep."""


def cell_of(run: RunInfo, kind: str, layout: str, tokens: int, impl: str, text: TextSource | None) -> Cell:
    """The cell of a measured or planned record; one layer's attention alone reads no weights."""
    weights = None if kind == "attention" else run.weights
    return (*names_of(run).values(), weights, kind, layout, tokens, impl, None if text is None else text.sha256)


def names_of(run: RunInfo) -> dict[str, str | int]:
    """What all records of one file have in common by name; `records.identity` has what names do not tell."""
    where = run.environment
    return {"model": run.model, "device": run.device, "device_kind": where.device_kind, "cpu": where.cpu,
            "dtype": run.dtype, "batch": run.batch}  # fmt: skip
