"""Metrics added to tasks, and the states that metrics share."""

import sys
import types

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from reference.batches import random_batch
from taskprism.errors import InputError, UnknownNameError
from taskprism.metrics import DenseMetric, DepthRmse, MeanAngle, list_metrics, register_metric
from taskprism.registry import temporary_parts
from taskprism.scoring.image_states import ImageStateRecorder
from taskprism.scoring.intervals import resampled_scores
from taskprism.tasks import Depth, create_task, resolve_tasks, task_from_config


class Bias(DenseMetric):
    """Mean signed error plus an offset; its state has the name that depth errors use."""

    name = "bias"
    task_kinds = ("depth",)
    higher_is_better = False

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor
        self.add_state("depth_sums", torch.zeros(11, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction, target, valid):
        error = (prediction - target)[valid].double()
        self.depth_sums[0] += self.factor * error.sum()
        self.depth_sums[1] += error.numel()

    def compute(self):
        return self.depth_sums[0] / self.depth_sums[1]


class NoDirection(DenseMetric):
    name = "no_direction"

    def compute(self):
        return torch.zeros(())


ORIGIN = f"{__name__}:Bias"


@pytest.mark.parametrize("given", ["registered", "class", "module"])
def test_extra_metrics_are_accepted_by_name_class_and_module(given):
    with temporary_parts():
        if given == "registered":
            register_metric(Bias)
        metric = {"registered": "bias", "class": Bias, "module": ORIGIN}[given]
        task = create_task("depth", extra_metrics=[metric])
        assert set(task.metrics().keys()) == {*create_task("depth").metrics().keys(), "bias"}
        assert task.higher_is_better["bias"] is False
        metrics = task.metrics()
        output, target, valid = random_batch(task, images=2)
        task.update_metrics(metrics, output, target, valid)
        expected = (task.decode(output) - target)[valid].double().mean()
        assert metrics.compute()["bias"] == pytest.approx(expected.item(), rel=1e-5)


def test_subclasses_with_their_own_metrics_get_extra_metrics_once():
    class Own(Depth):
        def metrics(self):
            own = super().metrics()
            return MetricCollection({**dict(own.items()), "again": DepthRmse()})

    metrics = Own(extra_metrics=("depth_log_rmse",)).metrics()
    assert {"rmse", "again", "depth_log_rmse"} <= set(metrics.keys())


def test_extra_metrics_survive_the_config_and_leave_others_unchanged():
    task = create_task("depth", extra_metrics=[ORIGIN])
    assert task.to_config()["extra_metrics"] == [ORIGIN]
    assert task_from_config(task.to_config()) == task
    assert "extra_metrics" not in create_task("depth").to_config()


def test_options_come_from_the_task():
    task = create_task("semseg", 4, extra_metrics=["miou"], absent_classes="zero")
    with pytest.raises(InputError, match="task already has the metric 'miou'"):
        task.metrics()
    edge = create_task("edge", odsf_thresholds=9, extra_metrics=["odsf"])
    assert len(edge.metrics()["odsf"].convention.thresholds) == 9


def test_extra_metrics_that_do_not_fit_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'mean_angle'"):
        create_task("normals", extra_metrics=["mean_angel"])
    with pytest.raises(InputError, match=r"'mean_angle' is for normals.*kind 'depth'"):
        create_task("depth", extra_metrics=["mean_angle"]).metrics()
    with pytest.raises(InputError, match="whether higher is better"):
        create_task("depth", extra_metrics=[NoDirection]).metrics()
    assert {"miou", "odsf", "depth_rmse"} <= set(list_metrics())
    assert "inverse_depth" in create_task("inverse_depth").to_config()["kind"]
    create_task("inverse_depth", extra_metrics=["depth_delta"]).metrics()  # a subclass of Depth


def test_saved_configs_do_not_import_metrics_or_tasks():
    name = "some_module_nobody_imported"
    for config in (
        {"kind": "depth", "extra_metrics": [f"{name}:Metric"]},
        {"kind": f"{name}:Task"},
        {"kind": "os:system"},
        {"kind": "depth", "extra_metrics": ["os:system"]},
    ):
        with pytest.raises(InputError):
            task_from_config(config)
        with pytest.raises(InputError):
            resolve_tasks([config], trusted=False)
    assert name not in sys.modules


def _kept(task, images=3):
    recorder = ImageStateRecorder([task])
    recorder.add_images([f"image{i}" for i in range(images)])
    metrics = task.metrics()
    recorder.update(task, metrics, *random_batch(task, images=images))
    return recorder.gathered(), metrics


def test_states_of_equal_names_and_different_meanings_are_kept_apart():
    task = create_task("depth", extra_metrics=[Bias])
    states, metrics = _kept(task)
    assert set(states.states["depth"]) == {"depth_sums", "bias.depth_sums"}
    counts = np.ones((1, len(states.names)))
    for key in ("rmse", "bias", "abs_error"):
        (score,) = resampled_scores(states, "depth", key, counts)
        assert score == pytest.approx(metrics[key].compute().item()), key


def test_metrics_of_one_class_with_different_options_are_kept_apart():
    class Scaled(Depth):
        def metrics(self):
            return MetricCollection({"once": Bias(), "twice": Bias(2.0), "rmse": DepthRmse()})

    states, metrics = _kept(Scaled())
    (once,) = resampled_scores(states, "depth", "once", np.ones((1, 3)))
    (twice,) = resampled_scores(states, "depth", "twice", np.ones((1, 3)))
    assert twice == pytest.approx(2 * once)
    assert twice == pytest.approx(metrics["twice"].compute().item())


def test_metrics_with_different_updates_cannot_share_a_group():
    class Wrong(Depth):
        def metrics(self):
            metrics = {"bias": Bias(), "rmse": DepthRmse()}
            return MetricCollection(metrics, compute_groups=[["bias", "rmse"]])

    with pytest.raises(InputError, match="'bias' and 'rmse' are in one compute group"):
        Wrong().metrics()


def test_metrics_are_not_merged_when_the_first_batch_has_no_label():
    """torchmetrics merges metrics whose states are equal after the first batch."""

    class Undeclared(Depth):
        def metrics(self):
            return MetricCollection({"bias": Bias(), "rmse": DepthRmse()})

    task = Undeclared()
    metrics = task.metrics()
    output, target, valid = random_batch(task, images=2)
    task.update_metrics(metrics, output, target, torch.zeros_like(valid))
    task.update_metrics(metrics, output, target, valid)
    alone = DepthRmse()
    alone.update(task.decode(output), target, valid)
    assert metrics["rmse"].compute() == alone.compute()


def test_a_metric_class_can_come_from_a_module_made_at_run_time():
    module = types.ModuleType("module_made_at_run_time")
    module.Angle = type("Angle", (MeanAngle,), {"__module__": module.__name__, "name": "angle"})
    sys.modules[module.__name__] = module
    try:
        task = create_task("normals", extra_metrics=["module_made_at_run_time:Angle"])
        assert "angle" in task.metrics()
    finally:
        del sys.modules[module.__name__]
