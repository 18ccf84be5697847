import json
import subprocess

import pytest

from taskprism.errors import CheckpointError
from taskprism.training import RunDirectory
from taskprism.training.manifest import git_state, note_finished, note_resumed


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_git_state_tells_commit_and_changes(tmp_path):
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    clean = git_state(tmp_path)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert clean["changed"] is False
    (tmp_path / "new.txt").write_text("x")
    assert git_state(tmp_path) == {**clean, "changed": True}


def test_resuming_and_finishing_are_noted(tmp_path):
    file = tmp_path / "manifest.json"
    start = {"data_fingerprint": "x", "resumed": [], "finished": None, "seed": 3}
    file.write_text(json.dumps(start))
    note_resumed(file, "x")
    note_resumed(file, "x")
    note_finished(file)
    content = json.loads(file.read_text())
    assert len(content["resumed"]) == 2
    assert content["finished"] >= content["resumed"][1]
    assert content["seed"] == 3
    with pytest.raises(CheckpointError, match="fingerprint x then, y now"):
        note_resumed(file, "y")


def test_a_broken_manifest_is_named(tmp_path):
    file = tmp_path / "manifest.json"
    file.write_text("{")
    with pytest.raises(CheckpointError, match=r"manifest\.json cannot be read"):
        note_finished(file)


def test_a_checkpoint_whose_swap_was_cut_short_is_found(tmp_path):
    run = RunDirectory(tmp_path)
    assert not run.has_checkpoint("last")
    complete = tmp_path / "checkpoints" / ".last.complete"
    complete.mkdir(parents=True)
    (complete / "config.json").write_text("{}")
    assert run.find_checkpoint("last") == tmp_path / "checkpoints" / "last"
    with pytest.raises(CheckpointError, match="no checkpoint 'best'"):
        run.find_checkpoint("best")
