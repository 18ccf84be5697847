from __future__ import annotations

import torch

from models.base import ModelTests
from taskprism.models import create_model


class TestSingleTask(ModelTests):
    name = "single_task"

    def test_tasks_share_nothing(self) -> None:
        model = self.make().train()
        model(self.images())["depth"].sum().backward()
        touched = {n for n, p in model.named_parameters() if p.grad is not None}
        assert touched == {
            n
            for n, _ in model.named_parameters()
            if n.startswith(("backbones.depth.", "heads.depth."))
        }


def test_networks_start_with_equal_weights_but_share_none() -> None:
    model = create_model("single_task", ["depth", "edge"], backbone="mobilenetv2_050")
    depth = dict(model.backbones["depth"].named_parameters())
    for name, parameter in model.backbones["edge"].named_parameters():
        assert torch.equal(parameter, depth[name])
        assert parameter is not depth[name]
