"""Every metric: batches are merged, groups are correct, images without labels add nothing."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import Metric

from reference.batches import every_task, random_batch
from taskprism.tasks import create_task

TASKS = [
    *every_task(),
    create_task("edge", positive_weight=None, name="edge_hed"),
    create_task("edge", odsf=True, odsf_thresholds=9, name="edge_odsf"),
    create_task("edge", 2, odsf=True, odsf_convention="pascal_survey", name="edge_survey"),
    create_task("semseg", 5, absent_classes="zero", name="semseg_zero"),
    create_task("semseg", 5, absent_classes="nan", name="semseg_nan"),
    create_task("depth", median_scaled=True, name="depth_scaled"),
    *[create_task("saliency", max_f=variant, name=variant) for variant in ("invpt", "astmt")],
]
IMAGES = 6


def _ids(task):
    return task.name


def _scores(metrics):
    return {key: value.item() for key, value in metrics.compute().items()}


def _score(task, *batches):
    metrics = task.metrics()
    for batch in batches:
        task.update_metrics(metrics, *batch)
    return _scores(metrics)


def _part(batch, chosen):
    return tuple(t[list(chosen)] for t in batch)


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_collections_equal_single_metrics(task):
    """Shared states are correct even if all metrics are equal after the first batch."""
    nothing, batch = random_batch(task, 0), random_batch(task, 1)
    nothing = (*nothing[:2], torch.zeros_like(nothing[2]))
    metrics = task.metrics()
    alone = {key: metric.clone() for key, metric in task.metrics().items()}
    for step in (nothing, batch, batch):
        task.update_metrics(metrics, *step)
    for metric in alone.values():
        for step in (nothing, batch, batch):
            task.update_metrics(metric, *step)
    expected = {key: metric.compute().item() for key, metric in alone.items()}
    assert _scores(metrics) == expected
    assert all(isinstance(m, Metric) and m.higher_is_better is not None for m in alone.values())


@settings(max_examples=40, deadline=None)
@given(
    index=st.integers(0, len(TASKS) - 1),
    seed=st.integers(0, 1000),
    order=st.permutations(range(IMAGES)),
    cut=st.integers(1, IMAGES - 1),
)
def test_scores_do_not_depend_on_batches_and_order(index, seed, order, cut):
    task = TASKS[index]
    batch = random_batch(task, seed, images=IMAGES)
    whole = _score(task, batch)
    parts = _score(task, _part(batch, order[:cut]), _part(batch, order[cut:]))
    assert parts == pytest.approx(whole, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_images_without_label_add_nothing(task):
    output, target, valid = random_batch(task, images=IMAGES)
    kept = [0, 2, 5]
    expected = _score(task, _part((output, target, valid), kept))
    valid[[1, 3, 4]] = False
    assert _score(task, (output, target, valid)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_metrics_are_nan_without_valid_pixels(task):
    output, target, valid = random_batch(task)
    scores = _score(task, (output, target, torch.zeros_like(valid)))
    assert scores and all(value != value for value in scores.values()), scores


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_perfect_predictions_get_the_best_score(task):
    _, target, valid = random_batch(task)
    metrics = task.metrics()
    metrics.update(target, target, valid)
    for key, value in _scores(metrics).items():
        if task.kind != "edge":  # reads logits
            assert value == pytest.approx(1.0 if task.higher_is_better[key] else 0.0, abs=1e-6)


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_reset_compute_and_pickle_keep_scores(task):
    batch = random_batch(task)
    expected = _score(task, batch)
    metrics = task.metrics()
    task.update_metrics(metrics, *random_batch(task, 7))
    metrics.compute()
    metrics.reset()
    with torch.inference_mode():
        task.update_metrics(metrics, *batch)
    assert _scores(metrics) == expected
    again = pickle.loads(pickle.dumps(metrics))
    assert _scores(again) == expected
    task.update_metrics(again, *batch)
    assert _scores(again) == pytest.approx(expected, abs=1e-9)
