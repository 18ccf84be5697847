from __future__ import annotations

import torch

from models.base import ModelTests
from taskprism.models import create_model


class TestMultiTask(ModelTests):
    name = "multi_task"

    def test_tasks_share_the_backbone(self) -> None:
        model = self.make().train()
        model(self.images())["depth"].sum().backward()
        touched = {n for n, p in model.named_parameters() if p.grad is not None}
        assert touched == {
            n for n, _ in model.named_parameters() if n.startswith(("backbone.", "heads.depth."))
        }


def test_deeplab_head_reads_the_deepest_map() -> None:
    model = create_model(
        "multi_task",
        {"semseg": 5, "depth": 1},
        backbone="resnet18",
        head="deeplab",
        neck="none",
        output_stride=8,
    ).eval()
    with torch.no_grad():
        outputs = model(torch.randn(1, 3, 65, 97))
    assert outputs["semseg"].shape == (1, 5, 65, 97)
