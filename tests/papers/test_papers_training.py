"""Training the runs of a table: order, resuming and failures."""

import json

import pytest

from reference.table_runs import Recorder, make_plan
from taskprism.errors import InputError
from taskprism.papers.plan import Place, train_plan
from taskprism.sweeps import LocalEngine


def work(plan, place, reporter, train):
    train_plan(plan, place, reporter, LocalEngine(train))


def test_all_rows_are_trained_with_one_seed_before_the_next(tmp_path, reporter, output):
    train = Recorder()
    work(make_plan(), Place(tmp_path), reporter, train)
    rows = ["single", "shared", "ours"]
    assert train.calls == [(row, seed, False) for seed in (0, 1) for row in rows]
    assert "Training run 1 of 6: single, seed 0" in output()
    assert "Training run 6 of 6: ours, seed 1" in output()


def test_finished_runs_are_not_trained_again(tmp_path, reporter, output):
    work(make_plan(seeds=1), Place(tmp_path), reporter, Recorder())
    again = Recorder()
    work(make_plan(seeds=2), Place(tmp_path), reporter, again)
    assert [call[:2] for call in again.calls] == [("single", 1), ("shared", 1), ("ours", 1)]
    assert "Found 3 of 6 runs finished" in output()


def test_rows_with_equal_recipes_share_a_run(tmp_path, reporter):
    plan = make_plan(seeds=1)
    plan.recipes["twin"] = plan.recipes["ours"]
    train = Recorder()
    work(plan, Place(tmp_path), reporter, train)
    assert [call[0] for call in train.calls] == ["single", "shared", "ours"]
    assert plan.runs_of("twin") == plan.runs_of("ours")
    assert plan.runs_of("twin")[0].rows == ("ours", "twin")


def test_a_failed_run_is_reported_and_the_others_are_trained(tmp_path, reporter, output):
    plan, place = make_plan(), Place(tmp_path)
    train = Recorder(fail={("shared", 0)})
    work(plan, place, reporter, train)
    assert len(train.calls) == 6
    (name, error), *others = place.failures(plan.runs).items()
    assert name == "rooms-shared-0123abcd-seed0" and not others
    assert error.startswith("RuntimeError: out of memory")
    assert f"{name} failed: out of memory\n" in output()
    stored = json.loads((tmp_path / "failures" / f"{name}.json").read_text())
    assert "Recorder" not in stored["error"] and "__call__" in stored["traceback"]
    again = Recorder()
    work(plan, place, reporter, again)
    assert again.calls == []  # failed runs are trained again only after a retry
    place.forget_failures(plan.runs)
    work(plan, place, reporter, again)
    assert again.calls == [("shared", 0, False)]
    assert place.failures(plan.runs) == {}


def test_ctrl_c_says_how_to_resume_and_releases_the_run(tmp_path, reporter, output):
    plan, place = make_plan(), Place(tmp_path / "my runs")
    with pytest.raises(KeyboardInterrupt) as stopped:
        work(plan, place, reporter, Recorder(stop_at=2))
    assert str(stopped.value).endswith(
        "taskprism reproduce some_paper/1 --protocol rooms --budget tiny --seeds 2 "
        f"--out '{tmp_path}/my runs'"
    )
    again = Recorder()
    work(plan, place, reporter, again)
    assert again.calls[0] == ("shared", 0, True)  # resumed
    assert "Resuming run 2 of 6: shared, seed 0" in output()
    assert len(again.calls) == 5


def test_launching_several_processes_raises(tmp_path, reporter, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--engine ray"):
        work(make_plan(), Place(tmp_path), reporter, Recorder())
