"""A folder is there whole or not at all, and nothing of anybody's is lost for it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import refmodel
from refmodel.saving import tensors
from refmodel.saving.new_folder import new_folder
from refmodel.saving.save import save

MODEL = Path(__file__).parents[2] / "golden" / "dense-tied"


def write(folder, text="new", *, overwrite=False, fails=None):
    with new_folder(folder, 3, overwrite=overwrite) as into:
        (into / "config.json").write_text(text)
        if fails:
            raise fails


def test_a_folder_comes_into_being_with_its_parents(tmp_path):
    write(tmp_path / "a" / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a/b/config.json").read_text() == "new"
    assert (tmp_path / "a/b").stat().st_mode == (tmp_path / "a").stat().st_mode


@pytest.mark.parametrize("fails", [ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [False, True])
def test_what_ends_it_leaves_everything_as_it_was(fails, before, tmp_path):
    if before:
        write(tmp_path / "m", "old")
    with pytest.raises(type(fails)):
        write(tmp_path / "m", overwrite=before, fails=fails)
    assert [path.name for path in tmp_path.iterdir()] == ["m"] * before
    if before:
        assert (tmp_path / "m/config.json").read_text() == "old"


def test_an_older_model_is_replaced_where_that_is_asked(tmp_path):
    write(tmp_path / "m", "old")
    (tmp_path / "m/model-00002-of-00002.safetensors").touch()
    with pytest.raises(ValueError, match=r"m is there and not empty; overwrite=True, or --overwrite,"):
        write(tmp_path / "m")
    write(tmp_path / "m", overwrite=True)
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        ".git",
        "optimizer.safetensors",
        "model_lora_adapter.safetensors",
        "model-old.safetensors",
        "model-00001-of-00002.safetensors.bak",
        "MODEL.safetensors",
    ],
)
def test_files_of_others_are_never_replaced(name, tmp_path):
    write(tmp_path / "m", "old")
    (tmp_path / "m" / name).touch()
    with pytest.raises(ValueError, match=rf"m holds {name}, which no model is saved with: it is not overwritten"):
        write(tmp_path / "m", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted(["config.json", name])


def test_a_folder_is_never_replaced_for_its_name(tmp_path):
    (tmp_path / "m" / "model.safetensors").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"m holds model\.safetensors, which no model is saved with"):
        write(tmp_path / "m", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_comes_while_it_is_written_stays(overwrite, tmp_path):
    if overwrite:
        write(tmp_path / "m", "old")
    with pytest.raises(ValueError, match=r"m (is there and not empty|holds thesis\.tex)"):  # noqa: SIM117
        with new_folder(tmp_path / "m", 3, overwrite=overwrite):
            (tmp_path / "m").mkdir(exist_ok=True)
            (tmp_path / "m/thesis.tex").write_text("mine")
    assert (tmp_path / "m/thesis.tex").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_first_of_two_saves_at_once_stays(tmp_path):
    with pytest.raises(ValueError, match="m is there and not empty"):  # noqa: SIM117
        with new_folder(tmp_path / "m", 3, overwrite=False):
            write(tmp_path / "m", "first")
    assert (tmp_path / "m/config.json").read_text() == "first"


def test_a_file_that_comes_meanwhile_is_not_moved(tmp_path):
    with pytest.raises(ValueError, match="m is no folder but a file"):  # noqa: SIM117
        with new_folder(tmp_path / "m", 3, overwrite=True):
            (tmp_path / "m").write_text("mine")
    assert (tmp_path / "m").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_what_comes_between_the_renames_stays(tmp_path, monkeypatch, caplog):
    rename, n_renamed = type(tmp_path).rename, []

    def adding(path, to):
        rename(path, to)
        n_renamed.append(to)
        if len(n_renamed) == adding.at:
            (next(tmp_path.glob(".*-before")) / "thesis.tex").write_text("mine")

    write(tmp_path / "m", "old")
    monkeypatch.setattr(type(tmp_path), "rename", adding)
    adding.at = 1
    with pytest.raises(ValueError, match=rf"^{tmp_path}/m holds thesis\.tex, which no model is saved with"):
        write(tmp_path / "m", overwrite=True)
    assert (tmp_path / "m/config.json").read_text() == "old"
    (tmp_path / "m/thesis.tex").unlink()
    n_renamed.clear()
    adding.at = 2
    write(tmp_path / "m", overwrite=True)
    (aside,) = tmp_path.glob(".*")
    assert (aside / "thesis.tex").read_text() == "mine" and f"the older one, {aside} stays" in caplog.text
    assert (tmp_path / "m/config.json").read_text() == "new"


def test_an_older_one_that_cannot_be_removed_is_told(tmp_path, monkeypatch, caplog):
    def forbidden(path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    write(tmp_path / "m", "old")
    monkeypatch.setattr(type(tmp_path), "unlink", forbidden)
    write(tmp_path / "m", overwrite=True)
    assert (tmp_path / "m/config.json").read_text() == "new"
    assert "the model is saved; of the older one" in caplog.text and "Permission denied" in caplog.text


def test_an_empty_folder_and_a_link_to_one_are_filled(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "m")
    write(tmp_path / "link")
    assert (tmp_path / "m/config.json").exists() and (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "m"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt("broken")])
def test_a_failing_rename_puts_the_older_one_back(error, tmp_path, monkeypatch):
    write(tmp_path / "m", "old")
    rename = type(tmp_path).rename

    def failing(path, to):
        if path.name.startswith(".m.unfinished") and not path.name.endswith("before"):
            raise error
        return rename(path, to)

    monkeypatch.setattr(type(tmp_path), "rename", failing)
    with pytest.raises(type(error), match="broken"):
        write(tmp_path / "m", overwrite=True)
    assert (tmp_path / "m/config.json").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


# ------------------------------------------------------------------------------------------ the same of whole models


def refused(folder, **how):
    with pytest.raises(ValueError) as caught:
        model = refmodel.load(str(MODEL))
        save(folder, model.config, model.params, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_no_folder(tmp_path):
    assert refused(5) == "folder: a path is wanted, got 5"
    (tmp_path / "m").touch()
    assert refused(tmp_path / "m").endswith("m is no folder but a file; a model is saved as a folder")
    assert "m/n: the model cannot be saved there ([Errno" in refused(tmp_path / "m" / "n", overwrite=True)


@pytest.mark.parametrize("name", ["", ".", "../here", Path()])
def test_the_folder_that_one_is_in_is_not_replaced(name, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for overwrite in (False, True):
        assert "here is the folder that this runs in, which is not replaced" in refused(name, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["here"] and not list(Path().iterdir())


def test_a_path_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused("~nosuchuser/x").startswith("~nosuchuser/x is no path of a folder (Could not determine home")
    assert refused("a\0b").startswith("'a\\x00b' is no path of a folder (")


def test_a_folder_that_may_not_be_written_to(tmp_path, monkeypatch):
    def forbidden(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(type(tmp_path), "mkdir", forbidden)
    assert "the model cannot be saved there ([Errno 13] Permission denied" in refused(tmp_path / "m")


def test_a_disk_without_room_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000))
    said = refused(tmp_path / "m")
    assert said.endswith("m would take 0.0 GB; its disk has 0.0 GB free") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("shard", [0, 2])
def test_a_disk_that_fills_up_between_shards_leaves_nothing(shard, tmp_path, monkeypatch):
    write_file, written = tensors.save_file, []

    def filling(*args):
        if len(written) == shard:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(write_file(*args))

    monkeypatch.setattr(tensors, "save_file", filling)
    said = refused(tmp_path / "m", shard_bytes=8_000)
    assert "the model cannot be saved there ([Errno 28] No space left on device)" in said
    assert len(written) == shard and not list(tmp_path.iterdir())
