"""The README's figures are those of the kept records."""

from __future__ import annotations

import pytest

from eval.readme import BEGIN, END, ROOT, spliced, whole_readme


def test_the_readme_is_what_the_records_say():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert whole_readme(readme) == readme, "run: python -m eval.readme"


def test_marks_are_needed():
    with pytest.raises(ValueError, match=r"README.md lacks the line '<!-- figures"):
        spliced("no marks", "figures", BEGIN, END)
