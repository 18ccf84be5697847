"""One process per run directory; what a crash leaves there is no obstacle."""

import contextlib
import json
import os
import platform
import re
import shutil

import pytest
import yaml

import commands
from taskprism.cli import main
from taskprism.errors import CheckpointError, TaskprismError
from taskprism.training import Trainer, build_experiment, evaluate, train
from taskprism.training.run_directory import RunDirectory
from taskprism.training.run_lock import LOCK_FILE, RunInUseError, RunLock

pytestmark = pytest.mark.usefixtures("quick")

HOLD = """
import sys
from pathlib import Path
from taskprism.training.run_lock import RunLock
with RunLock(Path(sys.argv[1])).hold():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Start another process that holds the lock of a folder until its input is closed."""
    with contextlib.ExitStack() as stack:

        def start(folder):
            process = commands.start_python(HOLD, folder, input=commands.PIPE)
            stack.enter_context(process)
            process.wait_until(lambda: process.output == "held\n")
            return process

        yield start


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def test_the_second_process_is_told_who_holds_the_run(tiny_recipe, tmp_path, hold, capsys):
    recipe = tiny_recipe(epochs=1)
    run = train(recipe, tmp_path / "run")
    before = files(run)
    other = hold(run)
    since = r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    holder = rf"in use by process {other.pid} on {re.escape(platform.node())} {since}"
    for start in (
        lambda: train(recipe, run, resume=True),
        lambda: train(recipe, run),
        lambda: evaluate(run),
    ):
        with pytest.raises(RunInUseError, match=holder):
            start()
    assert main(["evaluate", str(run)]) == 2
    assert re.search(holder, capsys.readouterr().err)
    assert files(run) == before
    other.kill()
    other.wait()
    train(recipe, run, resume=True)
    assert evaluate(run, pictures=False)


def test_a_new_folder_is_held_from_the_first_moment(tiny_recipe, tmp_path, hold):
    process = hold(tmp_path / "run")
    with pytest.raises(RunInUseError):
        train(tiny_recipe(epochs=1), tmp_path / "run")
    process.input.close()
    assert process.wait() == 0
    train(tiny_recipe(epochs=1), tmp_path / "run")


def test_a_trainer_holds_its_folder(tiny_recipe, tmp_path, hold):
    recipe = tiny_recipe(epochs=1)
    experiment = build_experiment(recipe)
    trainer = Trainer(experiment.model, experiment.protocol, tmp_path / "run", recipe)
    hold(tmp_path / "run")
    with pytest.raises(RunInUseError):
        trainer.train()


def test_the_holder_may_be_unknown(tmp_path, hold):
    hold(tmp_path)
    (tmp_path / ".lock.json").write_text("{")
    with pytest.raises(RunInUseError, match="in use by another process"), RunLock(tmp_path).hold():
        pass


def test_a_lock_leaves_nothing_where_nothing_was_written(tmp_path):
    lock = RunLock(tmp_path / "deep" / "run")
    with lock.hold(), lock.hold():
        assert lock.is_held
        assert (
            json.loads((tmp_path / "deep" / "run" / ".lock.json").read_text())["pid"] == os.getpid()
        )
    assert not lock.is_held and not list(tmp_path.iterdir())
    with lock.hold():
        (lock.folder / "file").write_text("")
    assert {path.name for path in lock.folder.iterdir()} == {"file", LOCK_FILE}


def test_a_folder_that_cannot_be_written_is_named_before_anything_else(tiny_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"Cannot write to .*file/run"):
        train(tiny_recipe(), tmp_path / "file" / "run")


@pytest.mark.parametrize("left", [".recipe.yaml.partial", ".lock", ".manifest.json.partial"])
def test_a_crash_before_the_recipe_is_written_leaves_a_free_folder(tiny_recipe, tmp_path, left):
    run = tmp_path / "run"
    run.mkdir()
    (run / left).write_text("model:")
    with pytest.raises(CheckpointError, match="leave --resume out to start one there"):
        train(tiny_recipe(epochs=1), run, resume=True)
    train(tiny_recipe(epochs=1), run)
    assert (run / "metrics.json").is_file()


def test_a_crash_amid_the_first_recipe(tiny_recipe, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def die(descriptor):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        with pytest.raises(Killed):
            train(tiny_recipe(epochs=1), tmp_path / "run")
    assert (tmp_path / "run" / ".recipe.yaml.partial").is_file()
    train(tiny_recipe(epochs=1), tmp_path / "run")


def test_the_files_of_others_are_still_respected(tiny_recipe, tmp_path):
    (tmp_path / ".hidden").write_text("precious")
    with pytest.raises(CheckpointError, match="is not empty"):
        train(tiny_recipe(), tmp_path)


def test_readers_leave_a_checkpoint_alone_that_is_being_written(tmp_path, hold):
    run = RunDirectory(tmp_path)
    partial = run.checkpoint("last").with_name(".last.partial")
    partial.mkdir(parents=True)
    hold(tmp_path)
    assert not run.has_checkpoint("last")
    assert partial.is_dir()


@pytest.mark.parametrize("splits", [["train"], ["train", "val", "test"]])
def test_what_is_missing_is_known_before_the_first_step(tiny_recipe, tiny_data, tmp_path, splits):
    shutil.copytree(tiny_data.parent, tmp_path / "data")
    file = tmp_path / "data" / "data.yaml"
    values = yaml.safe_load(file.read_text())
    values["splits"] = dict.fromkeys(splits, "train.txt")
    if "test" in splits:
        values["splits"]["test"] = "absent.txt"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(TaskprismError, match=r"absent\.txt|no split to score the run on"):
        train(tiny_recipe(data={"protocol": str(file)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
