"""Every mutant, file by file."""

from __future__ import annotations

import itertools
from typing import Final

from tests.mutants import (
    of_atlas,
    of_attention,
    of_batches,
    of_choices,
    of_codings,
    of_cost,
    of_counts,
    of_evictions,
    of_folders,
    of_hybrids,
    of_measure,
    of_models,
    of_packing,
    of_page,
    of_refmodel,
    of_report,
    of_retrieval,
    of_saving,
    of_shares,
    of_summaries,
    of_sweeps,
    of_training,
    of_variants,
)
from tests.mutants.mutant import Mutant

PARTS: Final = (
    of_attention, of_choices, of_evictions, of_hybrids, of_variants, of_refmodel, of_models, of_folders, of_saving,
    of_codings, of_packing, of_cost, of_counts, of_shares, of_atlas, of_measure, of_report, of_summaries, of_page,
    of_sweeps, of_batches, of_training, of_retrieval,
)  # fmt: skip

MUTANTS: Final[tuple[Mutant, ...]] = tuple(itertools.chain.from_iterable(part.MUTANTS for part in PARTS))
