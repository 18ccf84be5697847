from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from models.base import ModelTests
from reference.distillation_affinity_diffusion import affinity_diffusion
from taskprism.errors import InputError, UnknownNameError


class TestPAPNet(ModelTests):
    name = "pap_net"
    options: ClassVar[dict[str, Any]] = {"channels": 16, "distilled_channels": 8}

    def test_composes_its_parts(self) -> None:
        model = self.make("branches", auxiliary_tasks={"edge": 1}).double().eval()
        images = self.images(1).double()
        with torch.no_grad():
            outputs = model(images)
            fused = model.fusion(model.backbone(images))
            narrowed = {
                task: model.distillation.project[task](head.refine(fused))
                for task, head in model.initial_heads.items()
            }
            refined = affinity_diffusion(model.distillation.distillation, narrowed)
            expected = torch.nn.functional.interpolate(
                model.heads["depth"]([refined["depth"]]), size=self.size, mode="bilinear"
            )
        assert narrowed["edge"].shape == (1, 8, 16, 24)
        torch.testing.assert_close(outputs["depth"], expected, rtol=1e-9, atol=1e-9)

    def test_options_of_the_diffusion(self) -> None:
        model = self.make(distillation_options={"iterations": 3, "beta": 0.5})
        diffusion = model.distillation.distillation
        assert (diffusion.iterations, diffusion.beta) == (3, 0.5)

    def test_bad_options(self) -> None:
        with pytest.raises(InputError, match="multiple of 4"):
            self.make(distilled_channels=10)
        with pytest.raises(UnknownNameError, match=r"'affinity_diffusion' 'gamma'.*'beta'|gamma"):
            self.make(distillation_options={"gamma": 0.1})
        with pytest.raises(InputError, match=r'Fusion "none" needs a backbone with one map.*4'):
            self.make("branches", fusion="none")
