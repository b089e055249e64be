"""The records of a folder: whose they are, and who writes them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eval.measure.records import file, json_lines
from eval.measure.records.decode import from_json
from tests.eval.report.synthetic_records import CONFIG, record

LINE = record("prefill", "full", 5)
ONE, TWO = from_json(LINE), from_json(LINE | {"tokens": 7})


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "records.jsonl"
    assert file.read(path) == []
    for one in (ONE, TWO):
        file.append(path, one)
    assert file.read(path) == [ONE, TWO]
    assert file.read_comparison(tmp_path) == (path, [ONE, TWO]) == file.read_comparison(str(path))


def test_what_is_no_record_is_named_with_its_line(tmp_path):
    path = tmp_path / "records.jsonl"
    file.append(path, ONE)
    json_lines.append(path, LINE | {"kind": "kernel"})
    with pytest.raises(ValueError, match=r"records.jsonl:2 is not a record of a comparison: kind must be one of"):
        file.read(path)


def test_the_latest_record_of_a_cell_speaks():
    again = replace(ONE, time="2025-02-01T00:00:00+00:00")
    assert file.latest([ONE, TWO, again]) == [again, TWO]


def test_a_folder_has_one_writer(tmp_path):
    with file.only_writer(tmp_path), pytest.raises(ValueError, match="another run writes to"):
        file.only_writer(tmp_path).__enter__()
    with file.only_writer(tmp_path):
        pass


@pytest.mark.parametrize("change", [{"model": "other"}, {"weights": "other"}, {"device": "other"}, {"dtype": "other"}])
def test_records_of_another_model_or_machine_are_refused(tmp_path, change):
    path = tmp_path / "records.jsonl"
    file.append(path, ONE)
    file.refuse_others(path, replace(ONE.run, invocation="another command"))
    (field,) = change
    with pytest.raises(ValueError, match=f"holds records of {field} .*, this run's is 'other'; resume with the same"):
        file.refuse_others(path, replace(ONE.run, **change))


def test_the_model_is_the_one_that_all_records_name(tmp_path):
    assert file.config_of([ONE, TWO], tmp_path) == CONFIG
    other = replace(TWO, run=replace(TWO.run, model="mine"))
    with pytest.raises(ValueError, match="records of several models, mine, smollm2-135m; a comparison is of one"):
        file.config_of([ONE, other], tmp_path)
    with pytest.raises(ValueError, match="records of 'mine', whose shape is not known here; say which model"):
        file.config_of([other], tmp_path)
