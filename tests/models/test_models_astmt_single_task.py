"""Single-task networks of ASTMT's layers."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import timm
import torch

from models.base import ModelTests
from taskprism.errors import InputError, UnknownNameError
from taskprism.models import ASTMT, ASTMTSingleTask, MultiTaskModel, create_model

KINDS = {"branches": "se_resnet14_quarter", "pyramid": "mobilenet_v2"}
TASKS = {"semseg": 5, "depth": 1}


class TestASTMTSingleTask(ModelTests):
    name = "astmt_single_task"
    size: ClassVar[tuple[int, int]] = (64, 64)

    def make(self, kind: str = "pyramid", **changes: Any) -> MultiTaskModel:
        torch.manual_seed(0)
        arguments = {"tasks": self.tasks, "backbone": KINDS[kind], **self.options, **changes}
        return create_model(self.name, **arguments)

    def test_a_missing_task_is_silent(self) -> None:
        """Its whole network is."""
        model = self.make().train()
        self.loss(model, self.images(), missing="depth").backward()
        for task, network in model.networks.items():
            learns = any(p.grad is not None and p.grad.any() for p in network.parameters())
            assert learns == (task != "depth")

    def test_an_unknown_option_is_named(self) -> None:
        with pytest.raises(UnknownNameError, match=r"'astmt_single_task' 'adaptors'.*'adapters'"):
            self.make(adaptors=True)


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


def test_its_size_is_that_of_the_networks() -> None:
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
