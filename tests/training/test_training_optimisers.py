import pytest
import torch

from taskprism.models import create_model
from taskprism.recipes.schema import OptimizerSettings
from taskprism.training.learner import create_average
from taskprism.training.optimizers import create_optimizer, parameter_groups, set_learning_rate


@pytest.fixture(scope="module")
def model():
    return create_model("multi_task", {"depth": 1}, backbone="test_resnet", neck_channels=8)


def test_groups_hold_every_parameter_once(model):
    groups = parameter_groups(model, OptimizerSettings(lr=1.0, backbone_lr_factor=0.1))
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    backbone, rest = groups
    assert {id(p) for p in backbone["params"]} == {id(p) for p in model.backbone.parameters()}
    assert (backbone["lr"], rest["lr"]) == (0.1, 1.0)


def test_frozen_parameters_are_left_out():
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    (group,) = parameter_groups(layer, OptimizerSettings())
    assert [id(p) for p in group["params"]] == [id(layer.weight)]


def test_backbones_inside_a_single_task_model_count_too():
    model = create_model("single_task", {"depth": 1, "edge": 1}, backbone="test_resnet")
    backbone, rest = parameter_groups(model, OptimizerSettings(backbone_lr_factor=0.5))
    assert len(backbone["params"]) == len(list(model.backbones.parameters()))
    assert len(rest["params"]) == len(list(model.heads.parameters()))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_names(model, name, kind):
    settings = OptimizerSettings(name=name, lr=0.25, weight_decay=0.5, nesterov=True)
    optimizer = create_optimizer(model, settings)
    assert type(optimizer) is kind
    assert all(g["weight_decay"] == 0.5 and g["lr"] == 0.25 for g in optimizer.param_groups)
    if name == "sgd":
        assert all(g["nesterov"] and g["momentum"] == 0.9 for g in optimizer.param_groups)


def test_the_factor_scales_each_groups_own_rate(model):
    optimizer = create_optimizer(model, OptimizerSettings(lr=2.0, backbone_lr_factor=0.1))
    for _ in range(2):  # the factor is of the base rate, so setting it twice changes nothing
        assert set_learning_rate(optimizer, 0.5) == 1.0
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1, 1.0])


def test_average_follows_the_closed_form():
    layer = torch.nn.Linear(3, 1, bias=False)
    average = create_average(layer, 0.9)
    values = [torch.full((1, 3), float(v)) for v in (1, 5, -2)]
    for value in values:
        layer.weight.data.copy_(value)
        average.update_parameters(layer)
    expected = 0.9 * (0.9 * values[0] + 0.1 * values[1]) + 0.1 * values[2]
    torch.testing.assert_close(average.module.weight.data, expected)


def test_average_takes_the_models_statistics_as_they_are():
    norm = torch.nn.BatchNorm1d(2)
    average = create_average(norm, 0.9)
    for _ in range(3):
        norm(torch.randn(8, 2))
        average.update_parameters(norm)
    torch.testing.assert_close(average.module.running_mean, norm.running_mean)
    assert average.module.num_batches_tracked == 3
