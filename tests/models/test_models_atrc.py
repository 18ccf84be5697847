from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from models.base import ModelTests
from taskprism.errors import InputError, UnknownNameError


class TestATRC(ModelTests):
    name = "atrc"
    options: ClassVar[dict[str, Any]] = {"channels": 8}

    def test_composes_its_parts(self) -> None:
        model = self.make("branches", auxiliary_tasks={"edge": 1}).eval()
        images = self.images(1)
        with torch.no_grad():
            outputs = model(images)
            maps = model.backbone(images)
            stacked = torch.cat(
                [torch.nn.functional.interpolate(x, size=(16, 24), mode="bilinear") for x in maps],
                dim=1,
            )
            logits = {task: head(stacked) for task, head in model.initial_heads.items()}
            features = {task: layers(stacked) for task, layers in model.task_features.items()}
            refined = model.distillation(features, logits)
            expected = torch.nn.functional.interpolate(
                model.heads["depth"](refined["depth"]), size=self.size, mode="bilinear"
            )
        assert {t: x.shape[1] for t, x in logits.items()} == {"semseg": 5, "depth": 40, "edge": 2}
        torch.testing.assert_close(outputs["depth"], expected)
        torch.testing.assert_close(outputs.initial[0]["semseg"], logits["semseg"])
        edge = logits["edge"].softmax(1)[:, 1:]
        torch.testing.assert_close(outputs.initial[0]["edge"].sigmoid(), edge)

    def test_initial_predictions_do_not_move_the_backbone(self) -> None:
        model = self.make().train()
        model(self.images()).initial[0]["depth"].sum().backward()
        touched = {n for n, p in model.named_parameters() if p.grad is not None}
        assert touched == {
            n for n, _ in model.named_parameters() if n.startswith("initial_heads.depth.")
        }

    def test_initial_heads_are_those_whose_labels_are_read(self) -> None:
        def labels(genotype: Any, **changes: Any) -> list[str]:
            model = self.make(distillation_options={"genotype": genotype}, **changes)
            outputs = model(self.images())
            assert list(outputs.initial[0] if outputs.initial else {}) == list(model.initial_heads)
            return list(model.initial_heads)

        assert labels("global") == []
        assert labels("local", auxiliary_tasks={"edge": 1}) == ["edge"]
        assert labels("nyud_w18") == ["semseg", "depth"]
        own = {"semseg": "none", "depth": "global"}
        crossed = {"semseg": own, "depth": {**own, "semseg": "source_label"}}
        assert labels(crossed) == ["semseg"]

    def test_bad_options(self) -> None:
        with pytest.raises(UnknownNameError, match=r"'nyud_w19'.*'nyud_w18'"):
            self.make(distillation_options={"genotype": "nyud_w19"})
        with pytest.raises(UnknownNameError, match="'relational_context'"):
            self.make(distillation_options={"genotyp": "global"})
        with pytest.raises(
            InputError, match="has no context for target 'semseg' and source 'depth'"
        ):
            self.make(distillation_options={"genotype": "pascal_w18"})
