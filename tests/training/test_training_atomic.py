"""Checkpoints are either the old or the new one, wherever writing them is cut short."""

import errno
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch

from taskprism.atomic import (
    check_writable,
    path_inside,
    recover_folder,
    safe_name,
    write_folder,
    write_json,
    write_text,
)
from taskprism.errors import CheckpointError, InputError
from taskprism.models import create_model


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def fill_with(text):
    def fill(folder):
        (folder / "a").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "b").write_text(text)

    return fill


def content(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def names(folder):
    return [path.name for path in folder.iterdir()]


def whole(text):
    return {"a": text, "inner/b": text}


@pytest.fixture
def target(tmp_path):
    target = tmp_path / "checkpoints" / "last"
    write_folder(target, fill_with("old"))
    return target


def test_replaces(target):
    write_folder(target, fill_with("new"))
    assert content(target) == whole("new")
    assert names(target.parent) == ["last"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter")]
)
def test_a_failure_amid_writing_leaves_the_old_one(target, error):
    def fill(folder):
        (folder / "a").write_text("half of it")
        raise error

    with pytest.raises(CheckpointError) as caught:
        write_folder(target, fill)
    message = str(caught.value)
    assert str(target) in message
    assert str(error) in message
    assert "previous one is untouched" in message
    assert "--resume" in message
    assert content(target) == whole("old")
    assert names(target.parent) == ["last"]


def test_a_first_failure_leaves_nothing(tmp_path):
    def fill(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CheckpointError, match="Nothing was left behind"):
        write_folder(tmp_path / "last", fill)
    assert names(tmp_path) == []


@pytest.mark.parametrize("failing", ["mkdir", "rename", "fsync"])
def test_failures_of_the_system_itself(target, monkeypatch, failing):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner = os if failing == "fsync" else Path
    monkeypatch.setattr(owner, failing, fail)
    with pytest.raises(CheckpointError, match="No space left"):
        write_folder(target, fill_with("new"))
    monkeypatch.undo()
    assert content(target) == whole("old")
    assert names(target.parent) == ["last"]


STEPS = ["fill", "flush", "rename 1", "rename 2", "rename 3", "tidy"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step(target, monkeypatch, step):
    """After recovery there is one whole checkpoint: the new one from the first rename on."""
    renames = iter(range(1, 10))
    rename, rmtree, fsync = Path.rename, shutil.rmtree, os.fsync

    def killing_rename(self, to):
        if f"rename {next(renames)}" == step:
            raise Killed
        return rename(self, to)

    def killing_rmtree(path, **kwargs):
        if step == "tidy" and Path(path).name.endswith("previous") and Path(path).exists():
            raise Killed
        return rmtree(path, **kwargs)

    def killing_fsync(descriptor):
        if step == "flush":
            raise Killed
        return fsync(descriptor)

    def fill(folder):
        fill_with("new")(folder)
        if step == "fill":
            raise Killed

    monkeypatch.setattr(Path, "rename", killing_rename)
    monkeypatch.setattr(shutil, "rmtree", killing_rmtree)
    monkeypatch.setattr(os, "fsync", killing_fsync)
    with pytest.raises(Killed):
        write_folder(target, fill)
    monkeypatch.undo()

    recover_folder(target)
    expected = "new" if step in ("rename 2", "rename 3", "tidy") else "old"
    assert content(target) == whole(expected)
    assert names(target.parent) == ["last"]
    write_folder(target, fill_with("newer"))
    assert content(target) == whole("newer")


@pytest.fixture
def small_files():
    """No file may grow past 100 kB, which the system reports as it does a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("writer", ["model", "state"])
def test_the_real_writers_report_a_full_disk(target, small_files, writer):
    model = create_model("multi_task", {"depth": 1}, backbone="test_resnet", neck_channels=8)

    def fill(folder):
        if writer == "model":
            model.save_pretrained(folder)
        else:
            torch.save(model.state_dict(), folder / "training_state.pt")

    with pytest.raises(CheckpointError, match=r"Could not write .*last"):
        write_folder(target, fill)
    assert content(target) == whole("old")


def test_text_files(tmp_path, monkeypatch):
    file = tmp_path / "deep" / "file.json"
    write_json(file, {"a": 1})
    assert json.loads(file.read_text()) == {"a": 1}

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match=r"file\.json"):
        write_text(file, "new")
    assert json.loads(file.read_text()) == {"a": 1}
    assert names(file.parent) == ["file.json"]


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "../a", "a\\b", "C:\\a", "a\0b"])
def test_names_of_outputs_lead_nowhere_else(tmp_path, name):
    with pytest.raises(InputError, match="leads out of the folder"):
        path_inside(tmp_path, name, "a.png")
    with pytest.raises(InputError, match="leads out of the folder"):
        path_inside(tmp_path, "depth", name)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("image 1.b", "image 1.b"),
        ("a\nb\tc", "a_b_c"),
        (".", "_"),
        ("..", "_."),
        ("", "_"),
        (".hidden", "_hidden"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("a\\b", "a_b"),
        (os.fsdecode(b"caf\xe9"), "caf_"),
        ("e\u0301\u65e5" * 100, "e\u0301\u65e5" * 30),
    ],
)
def test_safe_names(tmp_path, name, safe):
    made = safe_name(name)
    assert made == safe
    path_inside(tmp_path, f"{made}.png").write_text("")


def test_an_output_is_checked_without_a_trace(tmp_path, monkeypatch):
    check_writable(tmp_path / "a" / "b")
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"Cannot write to .*file/a"):
        check_writable(tmp_path / "file" / "a")

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        check_writable(tmp_path / "new")
    with pytest.raises(CheckpointError, match="No space left"):
        write_text(tmp_path / "new" / "file", "text")
    assert names(tmp_path) == ["file"]
