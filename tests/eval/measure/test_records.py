"""Records survive what kills a run."""

from __future__ import annotations

import json
import subprocess

import pytest

from eval.measure import records

ONE = {"kind": "prefill", "model": "m", "layout": "full", "tokens": 5, "status": "ok"}
TWO = ONE | {"tokens": 7}


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "new" / "records.jsonl"
    assert records.read(path) == []
    for record in (ONE, TWO):
        records.append(path, record)
    assert records.read(path) == [ONE, TWO]


def test_a_torn_line_loses_only_itself(tmp_path):
    path = tmp_path / "records.jsonl"
    records.append(path, ONE)
    with path.open("a") as file:
        file.write(json.dumps(TWO)[:-9])  # killed while writing
    assert records.read(path) == [ONE]
    records.append(path, TWO)
    assert records.read(path) == [ONE, TWO]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", r"records.jsonl:2 is not a JSON"),
        ("5", "records.jsonl:2 is not a record of a comparison: a JSON object is wanted"),
        ("[1]", "a JSON object is wanted"),
        ('{"kind": "prefill"}', "no 'layout'"),
    ],
)
def test_a_foreign_line_is_named(tmp_path, line, message):
    path = tmp_path / "records.jsonl"
    records.append(path, ONE)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        records.read(path)


def test_what_is_no_text_is_named(tmp_path):
    picture = tmp_path / "cost.png"
    picture.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"cost\.png is no text; records of a comparison are lines of JSON"):
        records.read(picture)


def test_the_latest_record_of_a_cell_speaks():
    again = ONE | {"time": "later"}
    assert records.latest([ONE, TWO, again]) == [again, TWO]


def test_nan_is_refused_rather_than_written_as_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        records.append(tmp_path / "r", ONE | {"x": float("nan")})


def test_a_folder_has_one_writer(tmp_path):
    with records.only_writer(tmp_path), pytest.raises(ValueError, match="another run writes to"):
        records.only_writer(tmp_path).__enter__()
    with records.only_writer(tmp_path):
        pass


def test_the_environment_says_what_ran():
    here = records.environment()
    assert {"jax", "jaxlib", "flax", "python", "cpu", "cores", "git_commit", "xla_flags"} <= here.keys()
    json.dumps(here)


def test_the_commit_is_that_of_our_own_repository(tmp_path):
    """An installation below another project's checkout must not sign with that project's commit."""
    for words in (["init", "-q"], ["config", "user.email", "a@b"], ["config", "user.name", "a"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    (tmp_path / "theirs.py").write_text("")
    subprocess.run(["git", "-C", tmp_path, "add", "theirs.py"], check=True)
    subprocess.run(["git", "-C", tmp_path, "commit", "-qm", "theirs"], check=True)
    (tmp_path / "ours.py").write_text("")
    assert records.git_state(tmp_path / "ours.py") == {"git_commit": None, "git_dirty": None}
    assert len(records.git_state(tmp_path / "theirs.py")["git_commit"]) == 40
