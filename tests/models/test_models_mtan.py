from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from models.base import ModelTests
from taskprism.errors import InputError


class TestMTAN(ModelTests):
    name = "mtan"
    kinds: ClassVar[dict[str, dict[str, Any]]] = {
        "branches": {"backbone": "resnet18", "head": "high_resolution"},
        "pyramid": {"backbone": "resnet18", "output_stride": 16},
    }

    def test_with_masks_of_one_it_is_hard_sharing(self) -> None:
        """With masks of 1 the heads read the maps of the encoder."""
        model = self.make("branches").eval()
        for attention in model.attention:
            for layers in attention.values():
                layers[4].weight.data.zero_()
                layers[4].bias.data.fill_(100.0)
        with torch.no_grad():
            for images in (self.images(1), self.images(1, (65, 97))):
                maps = model.backbone(images)
                expected = torch.nn.functional.interpolate(
                    model.heads["depth"](maps), size=images.shape[-2:], mode="bilinear"
                )
                torch.testing.assert_close(model(images)["depth"], expected)

    def test_tasks_do_not_influence_each_other(self) -> None:
        """A mask of 0 in the first stage of one task does not change the other task."""
        model = self.make("branches").eval()
        with torch.no_grad():
            before = model(self.images(1))
            model.attention[0]["depth"][4].bias.fill_(-100.0)
            after = model(self.images(1))
        assert torch.equal(before["semseg"], after["semseg"])
        assert not torch.allclose(before["depth"], after["depth"])

    def test_features_are_pooled_where_the_encoder_downsamples(self) -> None:
        for stride, sizes in [(8, [8, 8, 8]), (None, [8, 4, 2])]:
            model = self.make("branches", output_stride=stride)
            seen: list[int] = []

            def note(_: object, given: tuple[torch.Tensor], seen: list[int] = seen) -> None:
                seen.append(given[0].shape[-2])

            for index in (1, 2, 3):
                model.attention[index]["depth"].register_forward_pre_hook(note)
            model(self.images(2))
            assert seen == sizes

    def test_a_stage_needs_two_blocks(self) -> None:
        with pytest.raises(
            InputError, match=r"at least 2.*layer1 of 'resnet10t' has 1; use 'resnet18'"
        ):
            self.make(backbone="resnet10t")
