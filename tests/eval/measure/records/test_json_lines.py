"""Lines survive what kills a run."""

from __future__ import annotations

import json

import pytest

from eval.measure.records import json_lines

ONE, TWO = {"tokens": 5}, {"tokens": 7}


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "new" / "lines.jsonl"
    assert json_lines.read(path) == []
    for line in (ONE, TWO):
        json_lines.append(path, line)
    assert json_lines.read(path) == [(1, ONE), (2, TWO)]


def test_a_torn_line_loses_only_itself(tmp_path):
    path = tmp_path / "lines.jsonl"
    json_lines.append(path, ONE)
    with path.open("a") as file:
        file.write(json.dumps(TWO)[:-3])  # killed while writing
    assert json_lines.read(path) == [(1, ONE)]
    json_lines.append(path, TWO)
    assert json_lines.read(path) == [(1, ONE), (2, TWO)]


def test_a_whole_last_line_that_lacks_its_end_is_kept(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(f"{json.dumps(ONE)}\n{json.dumps(TWO)}")
    assert json_lines.read(path) == [(1, ONE), (2, TWO)]
    json_lines.append(path, ONE)
    assert json_lines.read(path) == [(1, ONE), (2, TWO), (3, ONE)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", r"lines.jsonl:2 is not a JSON"),
        ("5", "lines.jsonl:2 .* a JSON object is wanted"),
        ("[1]", "object"),
        ('{"a":' * 20_000, r"lines.jsonl:2 is not a JSON record \(maximum recursion"),
        ('{"a":' + "1" * 5_000 + "}", r"lines.jsonl:2 is not a JSON record \(Exceeds the limit"),
    ],
)
def test_a_foreign_line_is_named(tmp_path, line, message):
    path = tmp_path / "lines.jsonl"
    json_lines.append(path, ONE)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        json_lines.read(path)


def test_what_is_no_text_is_named(tmp_path):
    picture = tmp_path / "cost.png"
    picture.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"cost\.png is no text; records are lines of JSON"):
        json_lines.read(picture)


def test_nan_is_refused_rather_than_written_as_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        json_lines.append(tmp_path / "r", ONE | {"x": float("nan")})
