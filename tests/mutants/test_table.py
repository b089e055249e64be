"""The table of mutants itself: it cannot rot unseen, and a sample of it is caught."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mutants.all_mutants import MUTANTS
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.run import wrong


def test_every_mutant_is_of_code_that_is_there():
    """Where this fails, code moved on: give the mutant the new text, or another fault in its place."""
    for mutant in MUTANTS:
        compile(mutant.source, mutant.file, "exec")
        for tests in mutant.tests:
            file, _, name = tests.partition("::")
            assert (ROOT / file).exists(), tests
            assert not name or f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8"), tests
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


def test_there_are_enough():
    packages = Counter(mutant.file.partition("/")[0] for mutant in MUTANTS)
    assert packages["attention"] >= 40 and packages["refmodel"] >= 100 and packages["eval"] >= 300


def test_an_equivalent_mutant_says_why():
    for mutant in MUTANTS:
        assert not mutant.equivalent or len(mutant.equivalent.split()) >= 4, mutant


def test_a_text_that_is_gone_is_named():
    gone = Mutant("attention/full.py", ("tests/attention/test_pattern.py",), "no such text", "x")
    with pytest.raises(ValueError, match=r"attention/full\.py has 0 times, not once: 'no such text'"):
        _ = gone.source


TITLES = "tests/eval/report/test_report_files.py::test_a_column_that_says_one_thing_goes_into_the_title"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tests", "old", "new", "equivalent", "said"),
    [
        (TITLES, "if not constant:", "if constant:", "", ""),
        (TITLES, "if not constant:", "if constant:", "as if it were the same", "exit code 1"),
        (TITLES, "return bool(self.rows)", "return True", "", "survives"),
        (TITLES, "return bool(self.rows)", "return True", "as if it were the same", ""),
        ("tests/no_such_test.py", "return bool(self.rows)", "return True", "", "exit code 4"),
    ],
)
def test_what_is_caught_what_survives_and_what_cannot_run(tests, old, new, equivalent, said, tmp_path):
    """The check checked: by a fault that a test sees, and one that it does not."""
    mutant = Mutant("eval/report/table.py", (tests,), old, new, equivalent)
    assert wrong((tests,), mutant, tmp_path).partition(":")[0] == said
    assert said or not wrong((TITLES,), None, tmp_path)
