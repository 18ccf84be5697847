"""States per image: they add up to the scores, whatever the batches, and survive the file."""

import numpy as np
import pytest
import torch
from torchmetrics import CatMetric, MetricCollection

from reference.batches import every_task, random_batch
from taskprism.errors import DataError
from taskprism.metrics import DepthRmse
from taskprism.scoring.image_states import LARGEST_STATE, ImageStateRecorder, read_image_states
from taskprism.scoring.runs import IMAGE_STATES_FILE
from taskprism.tasks import Depth, create_task
from taskprism.training import evaluate, train

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method")


def recorded(tasks, batches=((0, 1, 2, 3, 4),), metrics=None):
    """States of five random images, of which the fourth has no label."""
    recorder = ImageStateRecorder(tasks)
    metrics = metrics or {task.name: task.metrics() for task in tasks}
    for batch in batches:
        recorder.add_images([f"image{i}" for i in batch])
        for task in tasks:
            parts = (tensor[list(batch)] for tensor in data_of(task))
            recorder.update(task, metrics[task.name], *parts)
    return recorder.gathered()


def data_of(task):
    output, target, valid = random_batch(task, images=5)
    valid[3] = False
    return output, target, valid


def same(one, other):
    assert one.names == other.names
    assert one.tasks == other.tasks
    for task, states in one.states.items():
        for state, values in states.items():
            assert values.dtype == other.states[task][state].dtype
            assert np.array_equal(values, other.states[task][state]), (task, state)


TASKS = [*every_task(), create_task("edge", odsf=True, odsf_thresholds=9, primary_metric="odsf")]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind} {task.primary_metric}")
def test_the_sum_over_images_is_the_state_of_the_pooled_score(task):
    """Of every metric whose state is small."""
    metrics, at_once = task.metrics(), task.metrics()
    (states,) = recorded([task], [[0, 1], [2, 3, 4]], {task.name: metrics}).states.values()
    task.update_metrics(at_once, *data_of(task))
    for key, pooled in metrics.items():
        if sum(state.numel() for state in pooled.metric_state.values()) > LARGEST_STATE:
            assert not set(pooled.metric_state) & set(states)
            continue
        fresh = task.metrics()[key]
        for name, state in pooled.metric_state.items():
            values = states[name]
            total = np.add.accumulate(values)[-1]  # one after the other, as they were added
            assert values.shape == (5, *state.shape)
            assert not values[3].any()  # no label
            assert np.array_equal(total, state.numpy())
            expected = getattr(at_once[key], name).numpy()
            np.testing.assert_allclose(total, expected, rtol=1e-13)
            setattr(fresh, name, torch.from_numpy(np.asarray(total)))
        assert fresh.compute() == pooled.compute()
        torch.testing.assert_close(pooled.compute(), at_once[key].compute(), rtol=1e-13, atol=0)


def test_batches_do_not_matter_to_the_last_bit():
    tasks = every_task()
    same(recorded(tasks, [[0], [1, 2], [3], [4]]), recorded(tasks))


def test_states_survive_the_file_which_is_the_same_each_time(tmp_path):
    states = recorded(every_task())
    content = states.to_bytes()
    assert content == recorded(every_task()).to_bytes()
    (tmp_path / IMAGE_STATES_FILE).write_bytes(content)
    same(read_image_states(tmp_path), states)


def test_states_too_large_to_keep_are_left_out():
    (states,) = recorded([create_task("normals")]).states.values()
    assert list(states) == ["angle_sums"]


class Listing(Depth):
    """A task of which one metric keeps all values instead of a sum."""

    def metrics(self):
        return MetricCollection({"rmse": DepthRmse(), "all": CatMetric()})

    def update_metrics(self, metrics, output, target, valid):
        metrics["rmse"].update(output, target, valid)
        metrics["all"].update(output[valid])


def test_metrics_that_are_no_sums_are_left_alone():
    task, other = Listing(name="listing"), create_task("depth")
    metrics = {"listing": task.metrics(), "depth": other.metrics()}
    states = recorded([task, other], metrics=metrics)
    assert list(states.states) == list(states.tasks) == ["depth"]
    assert len(metrics["listing"].compute()["all"]) == data_of(task)[2].sum()


def test_a_run_holds_what_its_scores_were_made_of(tiny_recipe, quick, tmp_path):
    run = train(tiny_recipe(), tmp_path / "run")
    trained = read_image_states(run)
    assert trained.names == tuple(f"image{i:02d}" for i in range(7, 12))
    results = evaluate(run, batch_size=5, pictures=False)
    for name, task in trained.tasks.items():
        metric = task.metrics()[task.primary_metric]
        for state in metric.metric_state:
            setattr(metric, state, torch.from_numpy(trained.states[name][state].sum(axis=0)))
        assert metric.compute().item() == pytest.approx(results[name][task.primary_metric], 1e-6)
    (run / IMAGE_STATES_FILE).unlink()
    evaluate(run, split="train", pictures=False)
    with pytest.raises(DataError, match=r"has no image_states.npz.*taskprism evaluate"):
        read_image_states(run)


@pytest.mark.parametrize("content", [b"", b"no zip", None], ids=["empty", "other", "cut"])
def test_a_broken_file_is_told(content, tmp_path):
    whole = recorded([create_task("depth")]).to_bytes()
    (tmp_path / IMAGE_STATES_FILE).write_bytes(whole[:-30] if content is None else content)
    with pytest.raises(DataError, match=r"Cannot read.*taskprism evaluate"):
        read_image_states(tmp_path)
