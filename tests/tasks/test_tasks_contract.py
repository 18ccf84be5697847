"""The contract of tasks and metrics: every registered part, options, and parts from outside."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from reference.contracts import SIZES, check_metric, check_registered_metric, check_task
from taskprism.metrics import METRICS, DenseMetric
from taskprism.tasks import TASKS, DenseTarget, Task, create_task


def registered_task(kind: str) -> Task:
    """A task of a kind, with 5 classes if it needs a number of channels."""
    fields = {field.name: field for field in dataclasses.fields(TASKS.find(kind))}
    required = fields["channels"].default is dataclasses.MISSING
    return create_task(kind, 5 if required else None)


def tasks_of_metric(name: str) -> list[Task]:
    """A task of every registered kind that a metric can score."""
    kinds = getattr(METRICS.find(name), "task_kinds", ())
    return [
        registered_task(kind)
        for kind in TASKS.names()
        if not kinds or {getattr(c, "kind", None) for c in TASKS.find(kind).__mro__} & set(kinds)
    ]


VARIANTS = [
    create_task("depth", losses="l1_gradient", median_scaled=True, name="depth_scaled"),
    create_task("normals", losses="cosine", name="normals_cosine"),
    create_task("edge", positive_weight=None, name="edge_hed"),
    create_task("edge", 2, odsf=True, odsf_thresholds=9, name="edge_odsf"),
    create_task("edge", odsf=True, odsf_convention="pascal_survey", name="edge_survey"),
    create_task("saliency", 2, max_f="astmt", name="saliency_astmt"),
    create_task("saliency", max_f="invpt", soft=True, name="saliency_invpt"),
    create_task("semseg", 1, name="semseg_one"),
    create_task("semseg", 3, absent_classes="zero", name="semseg_zero"),
    create_task("human_parts", skip_empty_images=False, name="human_parts_all"),
    create_task("depth", extra_metrics=["rmse_median_scaled"], name="depth_extra"),
]


class PeakError(DenseMetric):
    """Largest error; its state is a maximum and not a sum."""

    higher_is_better = False

    def __init__(self):
        super().__init__()
        self.add_state("peak", torch.tensor(-1.0), dist_reduce_fx="max")

    def update(self, prediction, target, valid):
        errors = torch.where(valid, (prediction - target).abs(), -1.0)
        self.peak = torch.maximum(self.peak, errors.amax())

    def compute(self):
        return torch.where(self.peak < 0, torch.nan, self.peak)


@dataclass(frozen=True, kw_only=True)
class Flow(Task):
    """A task from outside the package: motion in pixels, two channels."""

    name: str = "flow"
    channels: int = 2
    primary_metric: str = "peak"

    kind = "flow"
    target_type = DenseTarget
    target_channels = 2

    def loss(self, output, target, valid):
        difference = torch.where(valid, output - target, 0.0)
        return difference.abs().sum() / (2 * valid.sum()).clamp(min=1)

    def decode(self, output):
        return output

    def metrics(self):
        return MetricCollection({"peak": PeakError()})

    def color(self, values, valid=None, reference=None):
        picture = np.full((*values.shape[-2:], 3), 128, np.uint8)
        return picture if valid is None else picture * valid[0, ..., None].numpy()


@pytest.mark.parametrize("kind", TASKS.names())
def test_registered_tasks_keep_the_contract(kind):
    check_task(registered_task(kind))


@pytest.mark.parametrize("task", VARIANTS, ids=lambda task: task.name)
def test_options_of_tasks_keep_the_contract(task):
    check_task(task)


def test_tasks_from_outside_keep_the_contract():
    check_task(Flow())


@pytest.mark.parametrize("name", METRICS.names())
def test_registered_metrics_keep_the_contract(name):
    tasks = tasks_of_metric(name)
    assert tasks, "no registered task has this kind"
    for task in tasks:
        check_registered_metric(name, task)


def test_metrics_from_outside_keep_the_contract():
    for size in SIZES:
        check_metric(create_task("depth"), PeakError(), size)
