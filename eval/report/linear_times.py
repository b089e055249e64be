"""The linear layers' times, as far as they are part of the prefill that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attention.full import FULL
from eval.report.summary import Summary

Samples = Mapping[int, Sequence[float]]
"""All samples in ms, per length in tokens."""

CLEARLY = 1.1
"""From this ratio of two medians on, one is said to be the longer time."""


def foreign_lengths(summary: Summary) -> tuple[int, ...]:
    """Where the linear layers, timed alone, clearly take longer than the whole prefill that they are a part of.

    Without attention other experts are chosen: a short prompt then reads weights that it does not read in use.  None
    of a model without experts: there it is noise.
    """
    if not summary.config.has_experts:
        return ()
    whole = summary.samples_ms("prefill", FULL)
    alone = summary.samples_ms("linear", FULL)
    return tuple(n for n in alone if n in whole and np.median(alone[n]) > CLEARLY * np.median(whole[n]))


def linear_samples(summary: Summary) -> Samples:
    """The linear layers' times, but those at `foreign_lengths`."""
    foreign = foreign_lengths(summary)
    return {n: samples for n, samples in summary.samples_ms("linear", FULL).items() if n not in foreign}
