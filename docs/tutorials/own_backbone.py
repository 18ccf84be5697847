"""Your own backbone, under any model."""

import torch
from torch import Tensor, nn

import taskprism
from taskprism.backbones import Backbone


@taskprism.register_backbone("three_strides")
class ThreeStrides(Backbone):
    """Feature maps at strides 4, 8 and 16 from plain convolutions."""

    def __init__(self, pretrained: bool | str = False, width: int = 16) -> None:
        super().__init__()
        self.channels = (width, width, width)
        self.strides = (4, 8, 16)
        self.stem = nn.Conv2d(3, width, kernel_size=7, stride=4, padding=3)
        self.stages = nn.ModuleList(
            nn.Conv2d(width, width, kernel_size=3, stride=2, padding=1) for _ in range(2)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1].relu()))
        return maps


if __name__ == "__main__":
    model = taskprism.create_model(
        "mti_net", {"semseg": 5, "depth": 1}, backbone="three_strides", width=8
    )
    outputs = model(torch.rand(2, 3, 64, 64))
    print({task: tuple(output.shape) for task, output in outputs.items()})
