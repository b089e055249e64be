"""Predictions of published rates."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.cost.cards import card
from eval.cost.published import COLUMNS, Measured, published
from eval.cost.validation import Efficiencies, fit, fit_with_fixed, predict, summarise, validate

R9700 = card("r9700")
FRACTION = st.floats(0.02, 0.9)


def _row(model: str, tokens: int, depth: int, rate: float = 1.0) -> Measured:
    return Measured("here setup", "family", model, "Q4", tokens, depth, rate, "source")


def _made(model: str, lengths: list[tuple[int, int]], used: Efficiencies) -> list[Measured]:
    """Rows that obey the form exactly."""
    return [_row(model, n, d, predict(_row(model, n, d), used, R9700)) for n, d in lengths]


@given(FRACTION, FRACTION, st.floats(0, 100))
def test_the_fit_finds_what_made_the_rows(linear: float, attention: float, fixed_ms: float) -> None:
    two = Efficiencies(linear, attention)
    found = fit(_made("llama-2-7b", [(512, 0), (2048, 16_384), (4096, 0)], two), R9700)
    assert (found.linear, found.attention) == pytest.approx((linear, attention), rel=1e-6)
    three = Efficiencies(linear, attention, fixed_ms)
    rows = _made("Qwen3-8B", [(512, 0), (4096, 0), (32_768, 0)], three)
    found = fit_with_fixed(rows, R9700)
    assert (found.linear, found.attention, found.fixed_ms) == pytest.approx(
        (linear, attention, fixed_ms), rel=1e-5, abs=1e-5
    )
    found = fit_with_fixed(rows[:2], R9700, attention=attention)
    assert (found.linear, found.fixed_ms) == pytest.approx((linear, fixed_ms), rel=1e-5, abs=1e-5)


@given(FRACTION, FRACTION, FRACTION)
def test_windows_are_predicted_from_full_attention_alone(donor: float, own: float, attention: float) -> None:
    lengths = [(512, 0), (2048, 16_384)]
    rows = _made("llama-2-7b", lengths, Efficiencies(donor, attention))
    rows += _made("gemma-3-12b-it", lengths, Efficiencies(own, attention))
    predictions, unfitted = validate(rows, R9700)
    (windows,) = [one for one in predictions if one.row.has_windows]
    assert windows.row.depth == 16_384 and windows.error == pytest.approx(0, abs=1e-6)
    assert windows.used.linear == pytest.approx(own)
    assert [one.rows[0].model for one in unfitted] == ["llama-2-7b"]  # nobody else to borrow from


def test_a_rate_that_rises_with_length_is_not_forced_into_two_terms() -> None:
    rows = _made("Qwen3-8B", [(512, 0), (4096, 0), (32_768, 0)], Efficiencies(0.3, 0.2, 400.0))
    predictions, (told,) = validate(rows, R9700)
    assert predictions == [] and "no physical efficiencies" in told.reason


def test_published_rows_have_sources_and_shapes() -> None:
    rows = published()
    assert len(rows) > 500 and all(row.source and row.tokens_per_s > 0 and sum(row.work) > 0 for row in rows)
    assert min(row.tokens for row in rows) >= 256
    assert {row.has_windows for row in rows} == {True, False}


def test_window_models_on_rocm_are_predicted_from_their_layout() -> None:
    predictions, _ = validate(published(), R9700)
    windows = [one for one in summarise(predictions) if one.windows and one.family.startswith("ROCm")]
    assert len(windows) == 2 and all(one.fits and one.median_error < 0.15 and one.count >= 16 for one in windows)
    assert any(not one.fits for one in summarise(predictions) if one.family.startswith("vulkan"))


def test_a_table_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [
                COLUMNS,
                ["a:b/x.log", "e", "ROCm", "d", "Llama 8B", "Q4", "pp2048@d4096", "pp", "9.5", ""],
                ["a:b/x.log", "e", "ROCm", "d", "unheard of", "Q4", "pp2048", "pp", "9.5", ""],
                ["a:b/x.log", "e", "ROCm", "d", "Llama 8B", "Q4", "n=128;depth=0", "tg128", "9.5", ""],
            ]
        )
    (row,) = published(path)
    assert (row.tokens, row.depth, row.tokens_per_s, row.ms) == (2048, 4096, 9.5, 1e3 * 2048 / 9.5)
    path.write_text("source,engine\na,b\n")
    with pytest.raises(ValueError, match="column backend is missing"):
        published(path)
    with pytest.raises(ValueError, match="cannot read the published rates"):
        published(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column backend is missing"),
        (b"\xff\x00", "cannot read the published rates"),
        (",".join(COLUMNS).encode() + b"\na:b/x.log\n", "no row is a prompt of a known model"),
        *(
            (f"{','.join(COLUMNS)}\na:b/x.log,e,ROCm,d,Llama 8B,Q4,pp2048,pp,{rate},\n".encode(), "tokens_per_s must")
            for rate in ("fast", "nan", "inf", "0", "-1")
        ),
    ],
)
def test_malformed_tables_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        published(path)
