from __future__ import annotations

from typing import Any, ClassVar

import torch

from models.base import ModelTests


class TestConcat(ModelTests):
    name = "concat"
    options: ClassVar[dict[str, Any]] = {"channels": 16, "distilled_channels": 8}

    def test_only_the_distillation_differs_from_ctal(self) -> None:
        own = self.make("branches").state_dict()
        self.name = "ctal"
        other = self.make("branches", size=(64, 96)).state_dict()
        shapes = [
            {k: v.shape for k, v in state.items() if "distillation.distillation." not in k}
            for state in (own, other)
        ]
        assert shapes[0] == shapes[1]

    def test_every_task_is_read_by_every_task(self) -> None:
        model = self.make().eval()
        features = {t: torch.randn(1, 16, 6, 5, requires_grad=True) for t in self.tasks}
        model.distillation(features)["depth"].sum().backward()
        assert all(x.grad.abs().sum() > 0 for x in features.values())
