"""The local engine, the status of runs, and the options of engines; without Ray."""

import io
import json
import multiprocessing

import pytest
from rich.console import Console

from taskprism.errors import InputError
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.sweeps import Job, LocalEngine, RayEngine, Resources, RunCollection
from taskprism.sweeps.engine import report_missing
from taskprism.sweeps.ray_engine import StatusBoard, create_engine, read_epoch
from taskprism.training.run_directory import RunDirectory

JOBS = [Job(name, Recipe(epochs=4), f"{name}, seed 0") for name in ("one", "two", "three")]


class Train:
    """Replaces training: writes scores and records the calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, recipe, folder, resume, reporter):
        self.calls.append((folder.name, resume))
        run = RunDirectory(folder)
        with run.lock.hold():
            run.write_recipe(recipe)
            run.metrics_file.write_text("{}")


def _hold(folder, ready, stop):
    with RunDirectory(folder).lock.hold():
        ready.set()
        stop.wait(60)


def test_runs_of_another_process_are_skipped_and_reported(tmp_path, reporter, output):
    runs, train = RunCollection(tmp_path), Train()
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    folder = runs.run(JOBS[1]).path
    other = context.Process(target=_hold, args=(folder, ready, stop))
    other.start()
    assert ready.wait(60)
    LocalEngine(train).run(JOBS, runs, reporter)
    assert f"Skipping two: {folder} is in use by process {other.pid} on" in output()
    assert report_missing(JOBS, runs, reporter, "") == 1
    assert "1 of 3 runs are not finished (two)" in output()
    stop.set()
    other.join()
    train.calls.clear()
    LocalEngine(train).run(JOBS, runs, reporter)
    assert train.calls == [("two", False)]
    assert report_missing(JOBS, runs, reporter, "") == 0


def test_a_run_without_recipe_starts_and_one_with_a_recipe_resumes(tmp_path, reporter):
    runs, train = RunCollection(tmp_path), Train()
    for job, file in zip(JOBS, (".recipe.yaml.partial", "recipe.yaml"), strict=False):
        runs.run(job).path.mkdir(parents=True)
        (runs.run(job).path / file).touch()
    LocalEngine(train).run(JOBS, runs, reporter)
    assert train.calls == [("one", False), ("two", True), ("three", False)]


def test_runs_with_different_precision_follow_one_another(tmp_path, reporter):
    from accelerate import Accelerator

    precisions = []

    def train(recipe, folder, resume, reporter):
        precisions.append(Accelerator(mixed_precision=recipe.precision).mixed_precision)

    jobs = [Job(name, Recipe(precision=name), name) for name in ("no", "bf16", "no")]
    runs = RunCollection(tmp_path)
    LocalEngine(train).run(jobs, runs, reporter)
    assert precisions == ["no", "bf16", "no"] and not runs.failures(jobs)


def test_a_failure_is_reported_with_its_own_error(tmp_path, reporter, output):
    def train(recipe, folder, resume, reporter):
        raise InputError("the labels are missing")

    runs = RunCollection(tmp_path)
    LocalEngine(train).run(JOBS[:1], runs, reporter)
    assert report_missing(JOBS[:1], runs, reporter, "again --retry-failed") == 1
    assert "Run one failed: InputError: the labels are missing" in output()
    assert "1 of 1 runs failed. Try them again with: again --retry-failed" in output()


def test_the_board_reads_who_trains_what(tmp_path, reporter, output):
    runs = RunCollection(tmp_path)
    one, two = (runs.run(job) for job in JOBS[:2])
    two.path.mkdir(parents=True)
    (two.path / ".lock.json").write_text('{"host": "dead", "pid": 1}')  # left by a killed process
    board = StatusBoard(JOBS, 2, runs)
    board.update(reporter)
    assert output() == "" and board.summary() == "3 of 5 runs left"
    one.path.mkdir(parents=True)
    (one.path / ".lock.json").write_text('{"host": "node7", "pid": 12}')
    one.log.append({"event": "train", "epoch": 3})
    board.update(reporter)
    board.update(reporter)
    assert output() == "Training one, seed 0 on node7 (process 12)\n"
    (one.path / ".lock.json").write_text('{"host": "node8", "pid": 13}')
    (two.path / ".lock.json").write_text('{"host": "node7", "pid": 14}')
    board.update(reporter)
    board.set(JOBS[2], "failed")
    board.set(JOBS[1], "finished")
    assert "Resuming one, seed 0 on node8 (process 13)\n" in output()
    assert "Training two, seed 0 on node7 (process 14)\n" in output()
    assert board.summary() == "1 of 5 runs left"
    columns = {column.header: list(column.cells) for column in board.table().columns}
    assert columns["run"] == ["one, seed 0", "three, seed 0", "two, seed 0"]
    assert columns["machine"] == ["node8 (13)", "", "node7 (14)"]
    assert columns["state"] == ["training", "failed", "finished"]
    assert columns["epoch"][0] == "3/4" and columns["elapsed"][0].startswith("0:00:0")


def test_a_terminal_shows_a_live_table(tmp_path):
    file = io.StringIO()
    reporter = Reporter(Console(file=file, force_terminal=True, width=100))
    runs = RunCollection(tmp_path)
    board = StatusBoard(JOBS, 0, runs)
    with board.shown(reporter):
        one = runs.run(JOBS[0])
        one.path.mkdir(parents=True)
        (one.path / ".lock.json").write_text('{"host": "node7", "pid": 12}')
        board.update(reporter)
    text = file.getvalue()
    assert "machine" in text and "node7 (12)" in text and "1 training, 2 waiting" in text
    assert "Training one" not in text


def test_a_log_line_that_is_being_written_does_not_matter(tmp_path):
    run = RunDirectory(tmp_path)
    run.log.append({"event": "train", "epoch": 2})
    with run.log.path.open("a") as file:
        file.write(json.dumps({"event": "train", "epoch": 3})[:9])
    assert read_epoch(run) == 2


def test_options_choose_the_engine():
    assert isinstance(create_engine(), LocalEngine)
    engine = create_engine("ray", "10.0.0.1:6379", "gpus=0.5, cpus=4")
    assert isinstance(engine, RayEngine) and engine.address == "10.0.0.1:6379"
    assert engine.per_run == Resources(cpus=4, gpus=0.5)
    with pytest.raises(InputError, match="--address needs --engine ray"):
        create_engine("local", "10.0.0.1:6379")
    for text in ("gpu=1", "gpus", "gpus=many", "gpus=-1", "cpus=nan", ""):
        with pytest.raises(InputError, match=r"--per-run takes numbers.*gpus=1,cpus=4"):
            create_engine("ray", per_run=text)


class Ray:
    def __init__(self, *machines):
        self.machines = machines

    def nodes(self):
        return [{"Alive": True, "Resources": each} for each in self.machines]


def test_a_run_needs_a_machine_with_enough_resources():
    ray = Ray({"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0})
    assert Resources().options(ray) == {"num_cpus": 1, "num_gpus": 1}
    assert Resources(gpus=0, cpus=8).options(ray) == {"num_cpus": 8, "num_gpus": 0}
    assert Resources().options(Ray({"CPU": 4.0})) == {"num_cpus": 1, "num_gpus": 0}
    with pytest.raises(InputError, match="4 CPUs and 0 GPUs; 8 CPUs and 2 GPUs"):
        Resources(cpus=9).options(ray)
