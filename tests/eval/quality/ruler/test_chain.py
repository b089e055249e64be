"""Variable tracking: word for word lm-eval's prompts, and a chain that holds."""

from __future__ import annotations

import re
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from eval.quality.ruler.chain import drawn_chain, tracking_prompt, variable_tracking
from eval.quality.ruler.sample import NOISE, Draw
from tests.eval.quality.ruler.lm_eval_prompts import lm_eval_prompt

FOUR_BREAKS = "\n" * 4


def read(part: str) -> tuple[list[str], int, list[int], int]:
    """Names, value, the lines of noise that assignments stand before, and how many lines there are."""
    lines = part.split("\n\n")[1].split("\n ")
    places = [i for i, line in enumerate(lines) if line.startswith("VAR ")]
    (value,) = re.findall(r"VAR \w+ = (\d+) ", part)
    return [lines[i].split()[1] for i in places], int(value), places, len(lines)


def test_the_prompt_is_lm_eval_s_word_for_word():
    prompt, answers = lm_eval_prompt("vt")
    example, asked = prompt.split(FOUR_BREAKS)
    names, value, places, n_lines = read(example)
    assert tracking_prompt(names, value, places, n_lines) + " " + " ".join(names) == example
    names, value, places, n_lines = read(asked)
    assert tracking_prompt(names, value, places, n_lines).rstrip() == asked
    assert tuple(names) == answers


@given(st.integers(5, 43), st.integers(0, 10**6))
def test_each_variable_has_the_value_of_the_one_before(units, seed):
    sample = variable_tracking(Draw(Random(seed), units, 0.5, 0))
    example, asked = sample.prompt.split(FOUR_BREAKS)
    for part, letters, n_lines in ((example, 3, 10), (asked, 5, units)):
        names, value, places, found_lines = read(part)
        assert len(set(names)) == 5 and {len(name) for name in names} == {letters} and 10_000 <= value < 99_999
        assert found_lines == part.count(NOISE) == n_lines
        links = re.findall(r"VAR (\w+) = VAR (\w+)  ", part)
        assert links == list(zip(names[1:], names, strict=False))
        assert f"5 variables are assgined the value {value}, they are:" in part
    assert sample.answers == tuple(names) and example.endswith(f"they are:  {' '.join(read(example)[0])}")
    assert sample.depths == tuple(place / units for place in places)
    assert sample.prompt.endswith(", they are:")


def test_names_are_all_different_also_where_there_are_few():
    assert {len(set(drawn_chain(Random(seed), letters=1)[0])) for seed in range(37)} == {5}


def test_assignments_are_spread_over_the_whole_text():
    depths = [variable_tracking(Draw(Random(seed), 7, 0.0, 0)).depths for seed in range(97)]
    assert {depth for one in depths for depth in one} == {i / 7 for i in range(7)}


def test_more_noise_asks_for_the_same_and_a_draw_is_pinned():
    few, many = (variable_tracking(Draw(Random("pinned"), units, 0.0, 0)) for units in (7, 23))
    assert few.answers == many.answers == ("JIFNX", "DLAAR", "UVVGE", "NOLUU", "DFOEK")
    assert few.depths == (0, 1 / 7, 2 / 7, 3 / 7, 5 / 7)
