"""Your own distillation module, in every model that has a distillation."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

import taskprism
from taskprism.distillation import Distillation


@taskprism.register_distillation
class GatedSum(Distillation):
    """Every task adds the gated features of all other tasks to its own."""

    name: ClassVar[str] = "gated_sum"

    def __init__(
        self, tasks: Sequence[str], channels: int, sources: Sequence[str] | None = None
    ) -> None:
        super().__init__(tasks, channels, sources)
        self.gates = nn.ModuleDict(
            {task: nn.Conv2d(channels, channels, kernel_size=1) for task in self.sources}
        )

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        gated = {
            task: features[task] * gate(features[task]).sigmoid()
            for task, gate in self.gates.items()
        }
        total = torch.stack(list(gated.values())).sum(dim=0)
        return {task: features[task] + total - gated[task] for task in self.tasks}


if __name__ == "__main__":
    for name in ("pad_net", "mti_net"):
        model = taskprism.create_model(
            name, {"semseg": 5, "depth": 1}, distillation=GatedSum, backbone="test_resnet"
        )
        outputs = model(torch.rand(2, 3, 64, 64))
        print(name, {task: tuple(output.shape) for task, output in outputs.items()})
