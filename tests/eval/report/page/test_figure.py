"""The commands under a figure: they measure again what is shown, where some are known that measured it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from eval.report.page.figure import Context

MEASURED = "prefillwall compare --layouts 'swa(5)' --out out/it"
DRAWN = "prefillwall report out/it"


def record(kind, command):
    return SimpleNamespace(kind=kind, run=SimpleNamespace(invocation=command))


def context(*commands, kinds=("linear", "attention", "prefill")):
    records = [record(kind, commands[0]) for kind in kinds]
    return Context(SimpleNamespace(records=records), {}, {}, {}, commands)


@pytest.mark.parametrize(
    ("commands", "again", "redraw"),
    [
        ((MEASURED,), f"{MEASURED} --resume --again linear prefill", f"{MEASURED} --resume"),
        ((MEASURED, DRAWN), f"{MEASURED} --resume --again linear prefill", DRAWN),
        ((f"{MEASURED} --resume --again disturbed 'prefill full 17'",),
         f"{MEASURED} --resume --again linear prefill", f"{MEASURED} --resume"),
        (("prefillwall compare --resume --again=disturbed --samples 3",),
         "prefillwall compare --resume --samples 3 --again linear prefill", "prefillwall compare --resume --samples 3"),
        (("eval.compare('tiny-dense', ['swa(5)'], [17])", DRAWN), DRAWN, DRAWN),
    ],
)  # fmt: skip
def test_a_figure_is_measured_again_and_what_was_measured_again_before_is_not_repeated(commands, again, redraw):
    assert context(*commands).again("linear", "prefill", "quality") == again
    assert context(*commands).redraw == redraw


def test_of_what_has_no_records_the_report_is_drawn_again():
    assert context(MEASURED).again("quality") == context(MEASURED).redraw
    assert context(MEASURED, kinds=()).again("prefill", "linear") == context(MEASURED).redraw


def test_each_command_measures_again_what_it_measured_itself():
    """A run that came later and planned less, or none of it, is asked for its own; runs that differ in nothing but
    what they measured again are one."""
    later = "prefillwall compare --tokens 31 --quality-tokens 0 --resume"
    records = [
        record("quality", MEASURED), record("linear", f"{MEASURED} --resume"), record("prefill", later),
        record("linear", later), record("linear", f"{MEASURED} --resume --again linear"), record("attention", later),
        record("prefill", "eval.compare('tiny-dense')"), record("prefill", None),
    ]  # fmt: skip
    shown = Context(SimpleNamespace(records=records), {}, {}, {}, [MEASURED, later, DRAWN])
    assert shown.again("linear", "prefill", "quality") == (
        f"{MEASURED} --resume --again linear quality && {later} --again linear prefill"
    )
    assert shown.again("quality") == f"{MEASURED} --resume --again quality"
    assert shown.again("apart") == DRAWN
