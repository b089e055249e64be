"""The records of a folder: whose they are, and who writes them."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace

import pytest

from eval.measure.records import file, json_lines
from eval.measure.records.decode import from_json
from eval.measure.records.identity import refuse_mixed
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


@pytest.mark.parametrize("name", ["none", "x" * 300, "pipe"])
def test_what_holds_no_records_is_named(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=rf"no records at {tmp_path / name}; the folder of a comparison is wanted"):
        file.records_path(tmp_path / name)


def test_a_folder_has_one_writer(tmp_path):
    with file.only_writer(tmp_path), pytest.raises(ValueError, match="another run writes to"):
        file.only_writer(tmp_path).__enter__()
    with file.only_writer(tmp_path):
        pass


@pytest.mark.parametrize("change", [{"model": "other"}, {"device": "other"}, {"dtype": "other"}])
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
    torn = replace(TWO, run=replace(TWO.run, model="a\nb"))
    with pytest.raises(ValueError, match=r"records of several models, 'a\\nb', smollm2-135m"):
        file.config_of([torn, ONE], tmp_path)


def test_what_is_set_aside_never_takes_the_place_of_another(tmp_path):
    """A clock that was set back, a backup that was restored: files of one second."""
    path, kept = tmp_path / "records.jsonl", []
    for tokens in (3, 5, 7):
        file.append(path, replace(ONE, tokens=tokens))
        os.utime(path, (1.7e9, 1.7e9))
        kept.append((file.set_aside(path), tokens))
    assert [(aside, one.tokens) for aside, _ in kept for one in file.read(aside)] == kept and not path.exists()
    assert all(re.fullmatch(r"records\.\d{8}-\d{6}(-\d)?\.jsonl", aside.name) for aside, _ in kept)


def test_a_file_that_keeps_some_records_is_set_aside_whole(tmp_path):
    path = tmp_path / "records.jsonl"
    for one in (ONE, TWO):
        file.append(path, one)
    before = path.read_bytes()
    (tmp_path / ".records.jsonl.new").write_bytes(before)  # of a run that was killed
    aside = file.keep_only(path, [TWO])
    assert aside.read_bytes() == before and file.read(path) == [TWO]
    assert sorted(tmp_path.iterdir()) == sorted([aside, path])


@pytest.mark.parametrize("links", [True, False])
def test_a_run_killed_at_any_moment_leaves_a_whole_file(tmp_path, monkeypatch, links):
    """Every call to the system that moves a file is the last one of a run; the next run finds what there was."""
    calls = {name: getattr(os, name) for name in ("link", "replace", "rename", "unlink")}
    for last in range(9):
        folder = tmp_path / str(last)
        path, left = folder / "records.jsonl", [last]
        for one in (ONE, TWO):
            file.append(path, one)

        def killed(name, left=left):
            def call(*arguments, **options):
                if name == "link" and not links:
                    raise OSError(errno.EPERM, "no links here")
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return calls[name](*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in calls:
                patch.setattr(os, name, killed(name))
            try:
                file.keep_only(path, [TWO])
            except KeyboardInterrupt:
                assert file.read(path) in ([ONE, TWO], [TWO])
                continue
        aside = file.keep_only(path, [])  # on a second try too
        assert [file.read(one) for one in (aside, path)] == [[TWO], []] and last > 0
        assert sorted(map(len, map(file.read, folder.glob("records*")))) == [0, 1, 2]
        return
    raise AssertionError("never done")


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_nothing_is_named_before_anything_and_at_the_record(tmp_path, monkeypatch, fault):
    path = tmp_path / "records.jsonl"
    file.append(path, ONE)

    def full(_):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", full)
    for write, where in ((lambda: file.append(path, TWO), path), (file.only_writer(tmp_path).__enter__, tmp_path)):
        with pytest.raises(OSError, match=re.escape(os.strerror(fault))) as caught:
            write()
        assert caught.value.filename == str(where)


COMMIT = {"git_commit": "f" * 40}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"dtype": "bfloat16"}, "dtype, float32 .* and bfloat16"),
        ({"weights": "other"}, "weights"),
        ({"params_digest": "0" * 32}, "params, untold .* and 000000000000 "),
        ({"environment": replace(ONE.run.environment, device_kind="abacus")}, "device_kind, cpu .* and abacus"),
        ({"environment": replace(ONE.run.environment, **COMMIT)}, "git_commit, 0123456789abcdef .* and ffffffffffff "),
        ({"environment": replace(ONE.run.environment, jax="a\nb")}, "jax, .* and a b "),
    ],
)
def test_records_that_do_not_compare_are_told_apart(change, word):
    refuse_mixed([ONE, TWO])
    with pytest.raises(ValueError, match=f"the records: records of more than one {word}") as caught:
        refuse_mixed([ONE, replace(TWO, run=replace(TWO.run, **change))])
    assert "prefill of full, 5 tokens" in str(caught.value) and "mixed=True" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_layers_attention_reads_no_weights():
    other = replace(TWO, kind="attention", run=replace(TWO.run, params_digest="0" * 32, weights="other"))
    refuse_mixed([ONE, other])
