"""A Ray cluster of two nodes on this machine: a node dies, and a driver dies; nothing is lost."""

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from reference.run_files import log, weights
from taskprism.progress import Reporter
from taskprism.recipes.files import to_yaml, validate
from taskprism.sweeps import Job, RayEngine, RunCollection, report_missing
from taskprism.sweeps.objective import Objective
from taskprism.sweeps.tune import (
    TrialCollection,
    TuneSettings,
    plan_trials,
    rank_trials,
    tune,
)
from taskprism.training import train

pytestmark = pytest.mark.slow
EPOCHS = 10


def make_recipe(**changes):
    values = {
        "name": "tiny",
        "model": {"name": "multi_task", "backbone": "test_resnet", "options": {"neck_channels": 8}},
        "tasks": ["semseg", "depth"],
        "data": {
            "protocol": "rooms",
            "batch_size": 2,
            "options": {
                "input_size": [32, 32],
                "train_length": 4,
                "val_length": 1,
                "test_length": 1,
            },
        },
        "epochs": EPOCHS,
        "evaluate_every": EPOCHS,
    }
    return validate({**values, **changes}, source="test")


def make_job(number, **changes):
    return Job(f"run{number}", make_recipe(**changes), f"run {number}")


def drive(connection):
    """A driver in a process that can be killed; forked before this process connects to Ray."""
    address, folder, jobs = connection.recv()
    RayEngine(address).run(jobs, RunCollection(folder), Reporter())


def wait_until(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(run, epochs=2):
    return run.has_checkpoint("last") and len(run.log) >= epochs and not run.metrics_file.is_file()


@pytest.fixture(scope="module")
def cluster():
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    driver = context.Process(target=drive, args=(theirs,), daemon=True)
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: paths of sockets are limited
    settings = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on 127.0.0.1 only
        "RAY_AUTH_MODE": "disabled",  # a token would be written into the home folder
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": folder,
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        driver.start()
        pytest.importorskip("ray")  # which reads the settings
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # if imported earlier
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}
        head = {**node, "include_dashboard": False}
        ray_cluster = Cluster(initialize_head=True, head_node_args=head)
        second = ray_cluster.add_node(**node)
        yield SimpleNamespace(
            ray=ray_cluster,
            second=second,
            driver=driver,
            connection=ours,
            address=ray_cluster.address,
        )
        import ray

        ray.shutdown()
        ray_cluster.shutdown()
        driver.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run that never stopped, with the threads of a Ray worker."""
    folder, threads = tmp_path_factory.mktemp("uninterrupted"), torch.get_num_threads()
    torch.set_num_threads(1)
    run = train(make_recipe(), folder / "run", reporter=Reporter(quiet=True))
    torch.set_num_threads(threads)
    return run


def check_equal(run, other):
    before, after = weights(run), weights(other)
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
    assert log(run) == log(other)


def test_a_node_dies_and_nothing_is_lost(cluster, uninterrupted, tmp_path, reporter, output):
    jobs = [make_job(0), make_job(1), make_job(2, data={"protocol": str(tmp_path / "no.yaml")})]
    runs = RunCollection(tmp_path / "out")

    def kill_a_node():
        wait_until(lambda: all(is_running(runs.run(job)) for job in jobs[:2]))
        cluster.ray.remove_node(cluster.second)

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    RayEngine(cluster.address).run(jobs, runs, reporter)
    killer.join()
    resumed = 0
    for job in jobs[:2]:
        assert runs.is_done(job)
        run = runs.run(job)
        resumed += len(json.loads(run.manifest_file.read_text())["resumed"])
        check_equal(run.path, uninterrupted)
    assert resumed == 1
    messages = output()
    assert messages.count("Training run 0 on ") == messages.count("Training run 1 on ") == 1
    assert messages.count("Resuming run ") == 1
    assert messages.count("Finished run") == 2
    assert report_missing(jobs, runs, reporter, "again") == 1
    assert "Run run2 failed: DataError: " in output() and "no.yaml" in output()


@pytest.mark.nightly
def test_a_driver_dies_and_the_next_one_continues(cluster, uninterrupted, tmp_path, reporter):
    job, runs = make_job(0), RunCollection(tmp_path / "out")
    run = runs.run(job)
    cluster.connection.send((cluster.address, runs.path, [job]))
    wait_until(lambda: is_running(run))
    worker = json.loads((run.path / ".lock.json").read_text())["pid"]
    os.kill(cluster.driver.pid, signal.SIGKILL)
    cluster.driver.join()
    assert not runs.is_done(job)
    RayEngine(cluster.address).run([job], runs, reporter)
    assert runs.is_done(job)
    assert len(json.loads(run.manifest_file.read_text())["resumed"]) == 1
    with pytest.raises(ProcessLookupError):  # Ray has ended the task of the dead driver
        os.kill(worker, 0)
    check_equal(run.path, uninterrupted)


@pytest.mark.nightly
def test_trials_that_are_behind_are_stopped(cluster, tmp_path, reporter, output):
    (tmp_path / "tiny.yaml").write_text(to_yaml(make_recipe(epochs=6, evaluate_every=1)))
    rates = [{"optimizer.lr": lr} for lr in (1e-3, 1e-9, 1e-10)]
    trials = plan_trials(str(tmp_path / "tiny.yaml"), rates)
    runs = TrialCollection(tmp_path / "out")
    settings = TuneSettings(grace=2, address=cluster.address)
    objective = Objective("depth/rmse", "val", higher_is_better=False)
    tune(trials[:1], runs, objective, settings, reporter)
    assert [runs.state(trial) for trial in trials] == ["finished", "new", "new"]
    assert "Finished trial000 (lr=0.001)" in output()
    tune(trials, runs, objective, settings, reporter)  # compared with the trial before
    assert runs.stopped() == {"trial001": 2, "trial002": 2}
    assert "Found 1 of 3 trials finished, stopped or failed." in output()
    assert "Stopped trial001 (lr=1e-09) after epoch 2" in output()
    scores = rank_trials(trials, runs, objective)
    assert [each.epoch for each in scores] == [6, 2, 2]
