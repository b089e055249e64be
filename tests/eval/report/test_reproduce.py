"""How a report says that it can be made again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eval.report.report_files import _how_to_reproduce
from eval.report.run_facts import UNTOLD_COMMAND
from tests.eval.report.synthetic_records import compared, synthetic_records

RECORDS = compared(synthetic_records()).records
DRAW = "prefillwall report out"


def invoked(*commands):
    """Records that the commands made, in turn."""
    return [
        replace(one, run=replace(one.run, invocation=commands[place % len(commands)]))
        for place, one in enumerate(RECORDS)
    ]


@pytest.mark.parametrize("commands", [("prefillwall compare",), ("prefillwall compare", None), (None,)])
def test_a_command_that_some_record_lacks_is_said(commands):
    text = _how_to_reproduce(invoked(*commands), DRAW)
    assert (UNTOLD_COMMAND in text) == (None in commands)
    assert ("prefillwall compare\n" in text) == ("prefillwall compare" in commands) and f"{DRAW}\n" in text
    assert ("The last line draws the report again" in text) == ("prefillwall compare" in commands)
