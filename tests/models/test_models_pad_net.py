from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from models.base import ModelTests
from taskprism.errors import InputError, UnknownNameError


class TestPADNet(ModelTests):
    name = "pad_net"
    options: ClassVar[dict[str, Any]] = {"channels": 16}

    def test_composes_its_parts(self) -> None:
        """The equations of the paper, written out with the layers of the model."""
        model = self.make("branches", auxiliary_tasks={"edge": 1}).eval()
        images = self.images()
        with torch.no_grad():
            outputs = model(images)
            fused = model.fusion(model.backbone(images))
            features = {t: h.refine(fused) for t, h in model.initial_heads.items()}
            for task, scores in outputs.initial[0].items():
                expected = model.initial_heads[task].predict(features[task])
                torch.testing.assert_close(scores, expected)
            messages = model.distillation.messages["depth"]
            refined = features["depth"]
            for source in ("semseg", "edge"):
                gate = torch.sigmoid(messages[source].attention(features[source]))
                refined = refined + gate * messages[source].value(features[source])
            expected = torch.nn.functional.interpolate(
                model.heads["depth"]([refined]), size=images.shape[-2:], mode="bilinear"
            )
        torch.testing.assert_close(outputs["depth"], expected)

    def test_bad_options(self) -> None:
        with pytest.raises(InputError, match="multiple of 4"):
            self.make(channels=10)
        with pytest.raises(UnknownNameError, match="spatial_attention"):
            self.make(distillation="spatial_atention")
        with pytest.raises(UnknownNameError, match="distillation 'spatial_attention'"):
            self.make(distillation_options={"heads": 3})
