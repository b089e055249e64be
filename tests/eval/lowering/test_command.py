"""`prefillwall lower`: bad input is one line, before anything is compiled."""

from __future__ import annotations

import pytest

from eval.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "gfx906"], "no target 'gfx906'; accepted: gfx1201, gfx1100, gfx1151, gfx942"),
        (["--target", "sm_90"], "no target 'sm_90'; accepted"),
        (["--model", "gemma3-12b"], "can be costed and not run"),
        (["--programs", "walk"], "no program 'walk'; accepted: prefill, decode, quality, training"),
        (["--programs", "attention", "--tiles", "96x64,4,1"], "powers of two"),
        (["--programs", "prefill", "--tiles", "64x64,4,1"], "--tiles are those of the attention kernel"),
        (["--layout", "5*swa(1024)+"], "layout"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lower", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
