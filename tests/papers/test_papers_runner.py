"""Training the runs of a table: resuming, failures, and several processes."""

import json
import multiprocessing
import threading
import time

import pytest

from reference.table_runs import Recorder, make_plan, write_run
from taskprism.errors import InputError
from taskprism.papers.claims import Claims
from taskprism.papers.plan import Place
from taskprism.papers.runner import Runner, failures, retry


def test_all_rows_are_trained_with_one_seed_before_the_next(tmp_path, reporter, output):
    train = Recorder()
    Runner(make_plan(), Place(tmp_path), reporter, train).work()
    rows = ["single", "shared", "ours"]
    assert train.calls == [(row, seed, False) for seed in (0, 1) for row in rows]
    assert "Training run 1 of 6: single, seed 0" in output()
    assert "Training run 6 of 6: ours, seed 1" in output()


def test_finished_runs_are_not_trained_again(tmp_path, reporter, output):
    Runner(make_plan(seeds=1), Place(tmp_path), reporter, Recorder()).work()
    again = Recorder()
    Runner(make_plan(seeds=2), Place(tmp_path), reporter, again).work()
    assert [call[:2] for call in again.calls] == [("single", 1), ("shared", 1), ("ours", 1)]
    assert "Found 3 of 6 runs finished" in output()


def test_rows_with_equal_recipes_share_a_run(tmp_path, reporter):
    plan = make_plan(seeds=1)
    plan.recipes["twin"] = plan.recipes["ours"]
    train = Recorder()
    Runner(plan, Place(tmp_path), reporter, train).work()
    assert [call[0] for call in train.calls] == ["single", "shared", "ours"]
    assert plan.runs_of("twin") == plan.runs_of("ours")
    assert plan.runs_of("twin")[0].rows == ("ours", "twin")


def test_a_failed_run_is_reported_and_the_others_are_trained(tmp_path, reporter, output):
    plan, place = make_plan(), Place(tmp_path)
    train = Recorder(fail={("shared", 0)})
    Runner(plan, place, reporter, train).work()
    assert len(train.calls) == 6
    (name, error), *others = failures(plan, place).items()
    assert name == "rooms-shared-0123abcd-seed0" and not others
    assert error.startswith("RuntimeError: out of memory")
    assert f"{name} failed: out of memory\n" in output()
    stored = json.loads((tmp_path / "failures" / f"{name}.json").read_text())
    assert "Recorder" not in stored["error"] and "__call__" in stored["traceback"]
    again = Recorder()
    Runner(plan, place, reporter, again).work()
    assert again.calls == []  # failed runs are trained again only after a retry
    retry(plan, place)
    Runner(plan, place, reporter, again).work()
    assert again.calls == [("shared", 0, False)]
    assert failures(plan, place) == {}


def test_ctrl_c_says_how_to_resume_and_releases_the_run(tmp_path, reporter, output):
    plan, place = make_plan(), Place(tmp_path / "my runs")
    with pytest.raises(KeyboardInterrupt) as stopped:
        Runner(plan, place, reporter, Recorder(stop_at=2)).work()
    assert str(stopped.value).endswith(
        "taskprism reproduce some_paper/1 --protocol rooms --budget tiny --seeds 2 "
        f"--out '{tmp_path}/my runs'"
    )
    again = Recorder()
    Runner(plan, place, reporter, again).work()
    assert again.calls[0] == ("shared", 0, True)  # resumed
    assert "Resuming run 2 of 6: shared, seed 0" in output()
    assert len(again.calls) == 5


def test_remains_of_a_run_that_did_not_start_are_removed(tmp_path, reporter):
    plan, place = make_plan(), Place(tmp_path)
    folder = place.run(plan.runs[0]).path
    folder.mkdir(parents=True)
    (folder / ".recipe.yaml.partial").touch()
    train = Recorder()
    Runner(plan, place, reporter, train).work()
    assert train.calls[0] == ("single", 0, False)
    assert not (folder / ".recipe.yaml.partial").exists()


def test_runner_waits_for_runs_of_other_processes(tmp_path, reporter, output):
    plan, place = make_plan(seeds=1), Place(tmp_path)
    held = plan.runs[0]
    file = tmp_path / "claims" / held.name / "1.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"host": "far", "pid": 7, "machine": "elsewhere"}')
    train = Recorder()
    runner = Runner(plan, place, reporter, train, poll=0.01)
    runner.work(wait=False)
    assert [call[0] for call in train.calls] == ["shared", "ours"]
    worker = threading.Timer(0.3, write_run, (held.recipe, place.run(held).path))
    worker.start()
    runner.work()
    assert len(train.calls) == 2
    assert (
        output().count(f"Waiting for runs of other processes: {held.name} (process 7 on far)") == 1
    )


def test_waiting_runner_takes_over_runs_of_dead_processes(tmp_path, reporter, output):
    plan = make_plan(seeds=1)
    place = Place(tmp_path, Claims(tmp_path / "claims", lease=0.3))
    held = plan.runs[0]
    file = tmp_path / "claims" / held.name / "1.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"host": "far", "pid": 7, "machine": "elsewhere"}')
    directory = place.run(held)
    directory.path.mkdir(parents=True)
    directory.write_recipe(held.recipe)
    train = Recorder()
    Runner(plan, place, reporter, train, poll=0.05).work()
    assert sorted(train.calls)[-1] == ("single", 0, True)
    assert "Taking over run 3 of 3: single, seed 0" in output()


def _share(folder, start, calls, reporter):
    def train(recipe, run, resume, reporter):
        calls.put((recipe.name, recipe.seed))
        time.sleep(0.05)
        write_run(recipe, run)

    start.wait()
    Runner(make_plan(seeds=4), Place(folder), reporter, train, poll=0.01).work()


def test_processes_that_share_a_folder_share_the_work(tmp_path, reporter):
    context = multiprocessing.get_context("fork")
    start, calls = context.Event(), context.Queue()
    arguments = (tmp_path, start, calls, reporter)
    processes = [context.Process(target=_share, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    done = [calls.get(timeout=60) for _ in range(12)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(set(done)) == 12 and calls.empty()


def test_launching_several_processes_raises(tmp_path, reporter, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES"):
        Runner(make_plan(), Place(tmp_path), reporter, Recorder()).work()
