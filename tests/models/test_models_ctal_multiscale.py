from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from models.base import ModelTests
from reference.distillation_ctal import ctal_direct
from taskprism.errors import InputError


class TestCTALMultiScale(ModelTests):
    name = "ctal_multiscale"
    options: ClassVar[dict[str, Any]] = {"size": (64, 96), "distilled_channels": 8}

    def test_composes_its_parts(self) -> None:
        model = self.make("branches", auxiliary_tasks={"edge": 1}).double().eval()
        images = self.images(1).double()
        middle = model.distillation
        with torch.no_grad():
            outputs = model(images)
            features, initial = model.front_end(model.backbone(images))
            fused = {
                task: model.fusions[task]([scale[task] for scale in features])
                for task in ("semseg", "depth", "edge")
            }
            narrowed = {t: middle.project[t](x) for t, x in fused.items()}
            doubled = middle.upsample["depth"](ctal_direct(middle.distillation, narrowed)["depth"])
            expected = torch.nn.functional.interpolate(
                model.heads["depth"]([doubled]), size=self.size, mode="bilinear"
            )
        assert len(outputs.initial) == 4
        torch.testing.assert_close(outputs.initial[2]["edge"], initial[2]["edge"])
        torch.testing.assert_close(outputs["depth"], expected, rtol=1e-9, atol=1e-9)

    def test_another_size(self) -> None:
        with pytest.raises(InputError, match=r"maps of 16x24, but got 16x16"):
            self.make().eval()(self.images(1, (64, 64)))
        model = self.make(distillation_options={"other_size": "resample"}, attention_stride=8)
        with torch.no_grad():
            assert model.eval()(self.images(1, (65, 97)))["depth"].shape == (1, 1, 65, 97)

    def test_front_end_without_propagation(self) -> None:
        names = self.make(propagation=False).state_dict()
        assert not any(name.startswith("front_end.propagation") for name in names)

    def test_a_size_is_required(self) -> None:
        with pytest.raises(InputError, match=r"one size of feature maps: give .*size=\(H, W\)"):
            self.make(size=None)
