from __future__ import annotations

import pytest
import torch

from models.base import BACKBONES, ModelTests
from taskprism.backbones.residual_stages import ResidualStages
from taskprism.models import create_model
from taskprism.models.cross_stitch import CrossStitchUnit
from taskprism.recipes.schema import OptimizerSettings
from taskprism.training.optimizers import parameter_groups

TASKS = ["semseg", "depth", "edge"]


class TestCrossStitch(ModelTests):
    name = "cross_stitch"
    kinds = BACKBONES[ResidualStages]

    def test_without_sharing_it_equals_single_task_networks(self) -> None:
        options = {**self.kinds["branches"], "neck": "none", "output_stride": 8}
        torch.manual_seed(3)
        single = create_model("single_task", self.tasks, **options).eval()
        model = self.make("branches", alpha=1.0, beta=0.0).eval()
        model.backbones.load_state_dict(single.backbones.state_dict())
        model.heads.load_state_dict(single.heads.state_dict())
        with torch.no_grad():
            for images in (self.images(1), self.images(1, (65, 97))):
                expected, outputs = single(images), model(images)
                for task in self.tasks:
                    torch.testing.assert_close(outputs[task], expected[task])

    def test_a_unit_follows_every_stage(self) -> None:
        model = self.make()
        channels = [unit.shares["depth"]["semseg"].weight.numel() for unit in model.units.values()]
        assert channels == list(model.backbones["depth"].channels)
        assert list(model.units) == ["layer1", "layer2", "layer3", "layer4"]

    def test_units_learn_faster(self) -> None:
        model = self.make(unit_lr_factor=50.0)
        groups = parameter_groups(model, OptimizerSettings(lr=0.5), model.sgd_rate_factors())
        units = {id(parameter) for parameter in model.units.parameters()}
        for group in groups:
            is_unit = {id(parameter) in units for parameter in group["params"]}
            assert is_unit == {group["lr"] == 25.0}


def features(channels: int = 4) -> dict[str, torch.Tensor]:
    return {task: torch.randn(2, channels, 3, 5, dtype=torch.float64) for task in TASKS}


def test_a_unit_mixes_per_channel() -> None:
    unit = CrossStitchUnit(TASKS, 4).double()
    for parameter in unit.parameters():
        parameter.data.normal_()
    given = features()
    mixed = unit(given)
    for task in TASKS:
        expected = torch.zeros_like(given[task])
        for source in TASKS:
            for channel in range(4):
                share = unit.shares[task][source].weight[channel]
                expected[:, channel] += share * given[source][:, channel]
        torch.testing.assert_close(mixed[task], expected)


def test_initial_values_of_a_unit() -> None:
    given = features()
    mixed = CrossStitchUnit(TASKS, 4, alpha=0.8, beta=0.05).double()(given)
    total = sum(given.values())
    for task in TASKS:
        torch.testing.assert_close(mixed[task], 0.75 * given[task] + 0.05 * total)


@pytest.mark.parametrize("order", [["edge", "semseg", "depth"], ["depth", "edge", "semseg"]])
def test_permuting_tasks_permutes_outputs(order: list[str]) -> None:
    unit = CrossStitchUnit(TASKS, 4).double()
    for parameter in unit.parameters():
        parameter.data.normal_()
    turned = CrossStitchUnit(order, 4).double()
    turned.load_state_dict(unit.state_dict())
    given = features()
    expected, mixed = unit(given), turned(given)
    assert list(mixed) == order
    for task in TASKS:
        torch.testing.assert_close(mixed[task], expected[task])
