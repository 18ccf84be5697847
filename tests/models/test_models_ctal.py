from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from models.base import ModelTests
from reference.distillation_ctal import ctal_direct
from taskprism.errors import InputError, UnknownNameError
from taskprism.models.inference import predict


class TestCTAL(ModelTests):
    name = "ctal"
    options: ClassVar[dict[str, Any]] = {"size": (64, 96), "channels": 16, "distilled_channels": 8}

    def test_composes_its_parts(self) -> None:
        """1x1 convolution, distillation as in the paper, upsampling, prediction at stride 2."""
        model = self.make("branches", auxiliary_tasks={"edge": 1}).double().eval()
        images = self.images(1).double()
        middle = model.distillation
        with torch.no_grad():
            outputs = model(images)
            fused = model.fusion(model.backbone(images))
            features = {t: h.refine(fused) for t, h in model.initial_heads.items()}
            narrowed = {t: middle.project[t](x) for t, x in features.items()}
            doubled = middle.upsample["depth"](ctal_direct(middle.distillation, narrowed)["depth"])
            scores = model.heads["depth"]([doubled])
            expected = torch.nn.functional.interpolate(scores, size=self.size, mode="bilinear")
        assert scores.shape[-2:] == (32, 48)
        torch.testing.assert_close(outputs["depth"], expected, rtol=1e-9, atol=1e-9)

    def test_another_size_is_refused(self) -> None:
        model = self.make().eval()
        with pytest.raises(InputError, match=r"maps of 16x24, but got 16x16.*other_size"):
            model(self.images(1, (64, 64)))
        assert not model.any_input_size

    def test_another_size_by_resampling(self) -> None:
        model = self.make(distillation_options={"other_size": "resample"}).eval()
        assert model.any_input_size
        with torch.no_grad():
            for size in ((65, 97), (38, 51)):
                assert model(self.images(1, size))["semseg"].shape == (1, 5, *size)

    @pytest.mark.parametrize(
        ("stride", "grid"), [(None, (16, 24)), (4, (16, 24)), (6, (11, 16)), (8, (8, 12))]
    )
    def test_stride_of_attention(self, stride: int | None, grid: tuple[int, int]) -> None:
        model = self.make(attention_stride=stride).eval()
        assert model.distillation.distillation.size == grid
        features = {t: torch.randn(1, 16, 16, 24) for t in self.tasks}
        with torch.no_grad():
            refined = model.distillation(features)
            assert refined["depth"].shape == (1, 8, 2 * grid[0], 2 * grid[1])
            assert model(self.images(1))["depth"].shape == (1, 1, *self.size)

    def test_prediction_brings_images_to_its_size(self) -> None:
        answers = predict(self.make(), torch.rand(3, 50, 40))
        assert answers["depth"].shape == (1, 50, 40)

    def test_one_map_of_a_transformer(self) -> None:
        model = self.make(
            backbone="swinv2_cr_tiny_ns_224", neck="deepest", neck_stride=16, fusion="none"
        ).eval()
        assert model.distillation.distillation.size == (4, 6)
        with torch.no_grad():
            outputs = model(self.images(1))
        assert outputs.initial[0]["semseg"].shape == (1, 5, 4, 6)
        assert outputs["semseg"].shape == (1, 5, *self.size)

    def test_bad_options(self) -> None:
        with pytest.raises(InputError, match=r"one size of feature maps: give size=\(H, W\)"):
            self.make(size=None)
        with pytest.raises(
            InputError, match="attention_stride must be an integer from 1 to 256, got 0"
        ):
            self.make(attention_stride=0)
        with pytest.raises(UnknownNameError, match=r"'gama'.*'gamma'"):
            self.make(distillation_options={"gama": 0.1})
