"""A variant held to everything that it owes, and told what of it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal

from attention.backends.base import CannotRun
from attention.checks import of_kind
from attention.cost import Heads
from attention.full import Full
from attention.layout import parse_variant
from attention.mixer import Mixer
from eval.testing.assertions import assert_causal, assert_flops_agree, assert_matches_dense
from eval.testing.runs_agree import assert_prefixes_agree, assert_steps_agree
from eval.testing.variant_case import HEADS, DoesNotApply, VariantCase

Status = Literal["holds", "fails", "does not apply"]


def assert_in_any_steps(variant: Mixer, **case: Any) -> None:
    """`assert_matches_dense`, or `assert_steps_agree` for what is no softmax attention to keys alone.

    Where the first fails and the second holds, the fault says so: steps change nothing.
    """
    try:
        assert_matches_dense(variant, **case)
    except DoesNotApply:
        assert_steps_agree(variant, **case)
    except AssertionError as fault:
        raise AssertionError(_told_from_steps(variant, fault, **case)) from fault


def _told_from_steps(variant: Mixer, fault: AssertionError, **case: Any) -> str:
    try:
        assert_steps_agree(variant, **case)
    except (AssertionError, ValueError):
        return str(fault)
    return f"the same in any steps, but {fault}"


CHECKS: Final[Mapping[str, Callable[..., None]]] = MappingProxyType(
    {
        "causal": assert_causal,
        "prefix": assert_prefixes_agree,
        "steps": assert_in_any_steps,
        "counts": assert_flops_agree,
    }
)
"""By what each says: no later token reaches an earlier one, bit for bit; a prompt's beginning is what it is by itself;
in one step, in chunks and token by token it is the same, softmax over the keys that it sees; FLOPs are those of what
runs."""

LENGTHS: Final = (97, 389, 1543, 3079)
"""Of which the first is taken at which a variant leaves something out; primes, which no tile or block divides."""


@dataclass(frozen=True)
class Verdict:
    """How a check went, and why where it does not hold: one line."""

    status: Status
    why: str = ""


@dataclass(frozen=True)
class Audit:
    """What holds of a variant at `tokens` tokens, by the names of `CHECKS`.

    Attributes:
        sees_all: every pair of that prompt is visible, so that nothing of a window or a budget was met.
    """

    variant: Mixer
    tokens: int
    sees_all: bool
    verdicts: Mapping[str, Verdict]

    @property
    def status(self) -> Status:
        """Of all together: whether one fails, or else one holds."""
        found = {verdict.status for verdict in self.verdicts.values()}
        return "fails" if "fails" in found else "holds" if "holds" in found else "does not apply"

    @property
    def holds(self) -> bool:
        """Nothing fails, and something holds."""
        return self.status == "holds"


def audit(
    variant: Mixer | str, *, tokens: int | None = None, heads: Heads = HEADS, seed: int = 0, impl: str = "blockwise"
) -> Audit:
    """Every check of `CHECKS` on a variant or its spelling; without `tokens` at the first of `LENGTHS` that shows it.

    Raises `ValueError` for heads or a length that the variant does not take.

    Examples:
        >>> from eval.testing import audit
        >>> found = audit("swa(7, sinks=2)", tokens=31)
        >>> found.holds, found.verdicts["causal"].status
        (True, 'holds')
    """
    if isinstance(variant, str):
        variant = parse_variant(variant)
    of_kind("a variant, such as attention.make(...),", variant, Mixer)
    length = tokens
    if length is None:
        length = next((n for n in LENGTHS if not _sees_all(variant, heads, n)), LENGTHS[0])
    VariantCase(variant, length, heads, seed)  # refuses what no check could run
    verdicts = {
        name: _verdict(partial(check, variant, tokens=length, heads=heads, seed=seed, impl=impl))
        for name, check in CHECKS.items()
    }
    return Audit(variant, length, _sees_all(variant, heads, length), MappingProxyType(verdicts))


def _sees_all(variant: Mixer, heads: Heads, tokens: int) -> bool:
    return variant.at_length(tokens).useful(heads, tokens).pairs == Full().useful(heads, tokens).pairs


def _verdict(check: Callable[[], None]) -> Verdict:
    try:
        check()
    except (DoesNotApply, CannotRun) as reason:
        return Verdict("does not apply", str(reason))
    except AssertionError as fault:
        return Verdict("fails", str(fault))
    except Exception as error:  # a variant is somebody's own code, and what it dies of is a finding
        first_line = next(iter(str(error).strip().splitlines()), "")
        return Verdict("fails", f"{type(error).__name__}: {first_line}")
    return Verdict("holds")
