"""`prefillwall lower`: bad input is one line, before anything is compiled."""

from __future__ import annotations

import pytest

from eval.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "gfx906"], "accepted: gfx1201, gfx1100, gfx1151, gfx942, sm_90"),
        (["--model", "gemma3-12b"], "can be costed"),
        (["--programs", "walk"], "'walk'; accepted: prefill, decode, quality, training, attention, experts"),
        (["--programs", "attention", "--tiles", "96x64,4,1"], "powers of two"),
        (["--programs", "prefill", "--tiles", "64x64,4,1"], "--tiles are those of the kernels"),
        (["--programs", "experts", "--tiles", "64x64,4,1"], "rows x columns x depth, warps, stages"),
        (["--programs", "attention", "--tiles", "64x64x32,4,1"], "rows x keys, warps, stages"),
        (["--layout", "5*swa(1024)+"], "layout"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["lower", *words])
    except SystemExit as left:
        status = left.code
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
