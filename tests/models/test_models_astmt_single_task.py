"""Single-task networks of ASTMT's layers."""

from __future__ import annotations

import pytest
import timm
import torch

from models.base import random_images, total_loss
from taskprism.errors import InputError
from taskprism.models import ASTMT, ASTMTSingleTask, create_model

TASKS = {"semseg": 5, "depth": 1}


def test_without_labels_the_whole_network_of_a_task_learns_nothing() -> None:
    model = create_model("astmt_single_task", TASKS, backbone="se_resnet14_quarter").train()
    assert isinstance(model, ASTMTSingleTask)
    total_loss(model, random_images(), missing="depth").backward()
    for task, network in model.networks.items():
        learns = any(p.grad is not None and p.grad.any() for p in network.parameters())
        assert learns == (task != "depth")


def test_each_task_is_an_astmt_of_that_task_alone() -> None:
    model = create_model("astmt_single_task", TASKS, backbone="mobilenet_v2", raw_input=True).eval()
    assert isinstance(model, ASTMTSingleTask)
    images = torch.rand(1, 3, 64, 96)
    alone = create_model("astmt", {"depth": 1}, backbone="mobilenet_v2", raw_input=True).eval()
    alone.load_state_dict(model.networks["depth"].state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(images, ["depth"])["depth"], alone(images)["depth"])
    assert model.normalize(torch.ones(1, 3, 2, 2)).mean().item() == pytest.approx(255)


def test_networks_share_nothing() -> None:
    model = create_model("astmt_single_task", TASKS, backbone="mobilenet_v2").train()
    model(torch.randn(2, 3, 64, 64))["depth"].sum().backward()
    touched = {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None}
    assert touched == {"depth"}
    own = {id(parameter) for parameter in model.own_parameters()}
    assert own == {id(parameter) for parameter in model.parameters()}


def test_number_of_parameters() -> None:
    """Sizes of one network on SE-ResNet-26 with squeeze-and-excitation in the decoder."""
    with torch.device("meta"):
        model = create_model(
            "astmt_single_task", {"semseg": 21, "edge": 1}, adapters=False, backbone="se_resnet26"
        )
    head = 65 * 20  # what 21 output channels have more than one
    assert sum(p.numel() for p in model.parameters()) == 2 * 19_259_396 - head
    networks = [network for network in model.networks.values() if isinstance(network, ASTMT)]
    assert len(networks) == 2


def test_encoders_without_squeeze_and_excitation() -> None:
    plain = {"excitation": False, "squeeze_encoder": False, "adapters": False}
    with torch.device("meta"):
        model = create_model("astmt", TASKS, backbone="se_resnet26", **plain)
        resnet = timm.create_model("resnet26", num_classes=0)
    expected = sum(p.numel() for p in resnet.parameters())
    assert sum(p.numel() for p in model.encoder.parameters()) == expected
    small = create_model("astmt", TASKS, backbone="mobilenet_v2", **plain).eval()
    assert not [
        name for name in small.state_dict() if name.startswith("encoder") and ".se." in name
    ]
    with pytest.raises(InputError, match=r"excitation=False.*squeeze_encoder=False"):
        create_model("astmt", TASKS, backbone="mobilenet_v2", excitation=False)
