"""What a record says of where it was made."""

from __future__ import annotations

import subprocess

import jax

from eval.measure.records.environment import environment, git_state


def test_the_environment_says_what_ran():
    here = environment()
    assert here.jax == jax.__version__ and here.cores > 0 and here.cpu
    assert environment() == here and hash(here)


def test_the_commit_is_that_of_our_own_repository(tmp_path):
    """An installation below another project's checkout must not sign with that project's commit."""
    for words in (["init", "-q"], ["config", "user.email", "a@b"], ["config", "user.name", "a"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    (tmp_path / "theirs.py").write_text("")
    subprocess.run(["git", "-C", tmp_path, "add", "theirs.py"], check=True)
    subprocess.run(["git", "-C", tmp_path, "commit", "-qm", "theirs"], check=True)
    (tmp_path / "ours.py").write_text("")
    assert git_state(tmp_path / "ours.py") == (None, None)
    commit, dirty = git_state(tmp_path / "theirs.py")
    assert len(commit) == 40 and not dirty
