from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F

from models.base import ModelTests
from taskprism.errors import InputError


class TestDenseMTL(ModelTests):
    name = "dense_mtl"
    options: ClassVar[dict[str, Any]] = {"channels": 4}

    def test_composes_its_parts(self) -> None:
        """The decoder written out on a dilated ResNet, with two deepest maps of one size."""
        model = self.make(
            backbone="resnet18",
            neck="none",
            output_stride=16,
            finest_stride=2,
            auxiliary_tasks={"edge": 1},
        ).eval()
        images = self.images(1)

        def conv(layers: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
            padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
            return F.elu(F.conv2d(padded, layers[0].weight, layers[0].bias))

        def up(x: torch.Tensor) -> torch.Tensor:
            return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

        with torch.no_grad():
            outputs = model(images)
            maps = model.backbone(images)
            assert [x.shape[-1] for x in maps] == [48, 24, 12, 6, 6]
            features = {}
            for task, decoder in model.decoders.items():
                x = decoder.pyramid(maps[4])
                x = conv(decoder.stages[0].merge, torch.cat([x, maps[3]], 1))
                for stage, skip in zip(decoder.stages[1:], maps[2::-1], strict=True):
                    x = conv(stage.merge, torch.cat([up(conv(stage.narrow, x)), skip], 1))
                features[task] = x
            assert features["edge"].shape == (1, 8, 32, 48)
            torch.testing.assert_close(
                outputs.initial[0]["edge"], model.initial_heads["edge"](features["edge"])
            )
            head = model.heads["depth"]
            refined = model.distillation(features)["depth"]
            expected = head.predict(conv(head.refine, up(conv(head.narrow, refined))))
        torch.testing.assert_close(outputs["depth"], expected)

    def test_attention_works_on_the_grid_of_stride_8(self) -> None:
        for stride, downscale in ((2, 4), (4, 2)):
            model = self.make(backbone="resnet18", neck="none", finest_stride=stride)
            message = model.distillation.messages["depth"]["semseg"]
            assert message.downscale == downscale

    def test_smallest_images(self) -> None:
        with torch.no_grad():
            assert self.make().eval()(self.images(1, (32, 32)))["depth"].shape == (1, 1, 32, 32)

    def test_another_distillation(self) -> None:
        model = self.make("branches", distillation="ctal", size=(64, 96)).eval()
        assert model.input_size == (64, 96)
        with pytest.raises(InputError, match="16x24"):
            model(self.images(1, (64, 64)))

    def test_one_map_is_not_enough(self) -> None:
        with pytest.raises(InputError, match=r'two maps.*neck="none"'):
            self.make("branches", neck="fuse")
