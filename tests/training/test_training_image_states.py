"""States per image: they add up to the scores, whatever the batches, and survive the file."""

import numpy as np
import pytest
import torch

from reference.batches import every_task, random_batch
from taskprism.analysis.image_states import read_image_states
from taskprism.analysis.runs import IMAGE_STATES_FILE
from taskprism.errors import DataError
from taskprism.tasks import create_task
from taskprism.training import evaluate, train
from taskprism.training.image_states import LARGEST_STATE, ImageStateRecorder

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
    metrics, at_once = task.metrics(), task.metrics()
    (states,) = recorded([task], [[0, 1], [2, 3, 4]], {task.name: metrics}).states.values()
    task.update_metrics(at_once, *data_of(task))
    pooled, fresh = metrics[task.primary_metric], task.metrics()[task.primary_metric]
    assert set(states) == set(pooled.metric_state)
    for name, values in states.items():
        expected = getattr(at_once[task.primary_metric], name)
        total = np.add.accumulate(values)[-1]  # one after the other, as they were added
        assert values.shape == (5, *expected.shape)
        assert not values[3].any()  # no label
        assert np.array_equal(total, getattr(pooled, name).numpy())
        np.testing.assert_allclose(total, expected.numpy(), rtol=1e-13)
        setattr(fresh, name, torch.from_numpy(np.asarray(total)))
    assert fresh.compute() == pooled.compute()
    for key, value in metrics.compute().items():  # the other metrics are as they were, too
        torch.testing.assert_close(value, at_once.compute()[key], rtol=1e-13, atol=0)


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
    normals = create_task("normals", primary_metric="median_angle")
    size = sum(s.numel() for s in normals.metrics()["median_angle"].metric_state.values())
    assert size > LARGEST_STATE
    states = recorded([normals, create_task("depth")])
    assert list(states.states) == list(states.tasks) == ["depth"]


def test_a_run_holds_what_its_scores_were_made_of(tiny_recipe, quick, tmp_path):
    run = train(tiny_recipe(), tmp_path / "run")
    trained = read_image_states(run)
    assert trained.names == tuple(f"image{i:02d}" for i in range(7, 12))
    results = evaluate(run, batch_size=5, pictures=False)
    for name, task in trained.tasks.items():
        metric = task.metrics()[task.primary_metric]
        for state, values in trained.states[name].items():
            setattr(metric, state, torch.from_numpy(values.sum(axis=0)))
        assert metric.compute().item() == pytest.approx(results[name][task.primary_metric], 1e-6)
    (run / IMAGE_STATES_FILE).unlink()
    evaluate(run, split="train", pictures=False)
    with pytest.raises(DataError, match=r"holds no image_states.npz.*taskprism evaluate"):
        read_image_states(run)


@pytest.mark.parametrize("content", [b"", b"no zip", None], ids=["empty", "other", "cut"])
def test_a_broken_file_is_told(content, tmp_path):
    whole = recorded([create_task("depth")]).to_bytes()
    (tmp_path / IMAGE_STATES_FILE).write_bytes(whole[:-30] if content is None else content)
    with pytest.raises(DataError, match=r"cannot be read.*taskprism evaluate"):
        read_image_states(tmp_path)
