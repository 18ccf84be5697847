"""What the tests of systems that share inside the encoder have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from models.base import ModelTests
from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.models import MultiTaskModel, SingleTask, create_model
from taskprism.recipes.schema import OptimizerSettings
from taskprism.training.optimizers import parameter_groups


class EncoderSharingTests(ModelTests):
    """The shared tests on small ResNets, and starting from single-task networks."""

    kinds: ClassVar[dict[str, dict[str, Any]]] = {
        "branches": {"backbone": "test_resnet", "head": "high_resolution"},
        "pyramid": {"backbone": "test_resnet", "output_stride": None},
    }

    def make(self, kind: str = "pyramid", **changes: Any) -> MultiTaskModel:
        torch.manual_seed(0)
        arguments = {"tasks": self.tasks, **self.kinds[kind], **self.options, **changes}
        return create_model(self.name, **arguments)

    def test_an_unknown_option_is_named(self) -> None:
        with pytest.raises(UnknownNameError, match=r"'output_strides'.*'output_stride'"):
            self.make(output_strides=3)

    def test_output_stride_is_8_by_default(self) -> None:
        model = create_model(self.name, self.tasks, backbone="resnet18", head="high_resolution")
        encoder = next(iter(model.starting_encoders().values()))
        assert encoder.strides == (4, 8, 8, 8)

    def test_only_networks_with_stages(self) -> None:
        for backbone in ("hrnet_w18_small", "mobilenetv2_050", "legacy_seresnet18"):
            with pytest.raises(InputError, match=f"'{backbone}'.*stage by stage.*'resnet18'"):
                create_model(self.name, self.tasks, backbone=backbone)

    def train_single(self, folder: Path, kind: str, **changes: Any) -> dict[str, str]:
        """A saved network per task."""
        runs = {}
        for seed, (task, channels) in enumerate(self.tasks.items()):
            torch.manual_seed(seed + 7)
            arguments = {"neck": "none", "output_stride": 8, **self.kinds[kind], **changes}
            network = create_model("single_task", {task: channels}, **arguments)
            network.save_pretrained(folder / task)
            runs[task] = str(folder / task)
        return runs

    def test_starts_from_single_task_networks(self, tmp_path: Path) -> None:
        runs = self.train_single(tmp_path, "branches")
        model = self.make("branches", from_single_task=runs)
        assert "from_single_task" not in model.config["options"]
        for task, path in runs.items():
            network = SingleTask.from_pretrained(path)
            pairs = [(model.heads[task], network.heads[task])]
            if task in model.starting_encoders():
                pairs.append((model.starting_encoders()[task], network.backbones[task]))
            for own, trained in pairs:
                for key, value in trained.state_dict().items():
                    assert torch.equal(own.state_dict()[key], value), key
        model.save_pretrained(tmp_path / "saved")
        for folder in tmp_path.iterdir():
            if folder.name != "saved":
                (folder / "config.json").unlink()
        again = type(model).from_pretrained(tmp_path / "saved")  # needs the runs no more
        self.assert_equal_outputs(model, again)

    def test_runs_that_do_not_fit(self, tmp_path: Path) -> None:
        runs = self.train_single(tmp_path, "branches")
        for wrong in ({"depth": runs["depth"]}, {**runs, "edge": runs["depth"]}, runs["depth"]):
            with pytest.raises(InputError, match="a run for each of semseg, depth"):
                self.make("branches", from_single_task=wrong)
        with pytest.raises(InputError, match="predicts depth, not 'semseg'"):
            self.make("branches", from_single_task={**runs, "semseg": runs["depth"]})
        with pytest.raises(InputError, match=r"head of the network of 'semseg'.*does not fit"):
            self.make("branches", from_single_task=runs, tasks={"semseg": 4, "depth": 1})
        with pytest.raises(CheckpointError, match=r"no network for 'semseg'.*nowhere"):
            self.make("branches", from_single_task={**runs, "semseg": "nowhere"})
        create_model("multi_task", self.tasks, backbone="test_resnet").save_pretrained(
            tmp_path / "other"
        )
        with pytest.raises(InputError, match="holds a 'multi_task'; give a trained 'single_task'"):
            self.make("branches", from_single_task={**runs, "depth": str(tmp_path / "other")})

    def test_another_output_stride_does_not_fit(self, tmp_path: Path) -> None:
        runs = self.train_single(tmp_path, "branches", output_stride=16)
        with pytest.raises(InputError, match=r"strides \(4, 8, 16, 16\), not \(4, 8, 8, 8\)"):
            self.make("branches", from_single_task=runs)

    def test_another_backbone_does_not_fit(self, tmp_path: Path) -> None:
        runs = self.train_single(tmp_path, "branches", backbone="resnet10t")
        with pytest.raises(InputError, match=r"encoder of the network of 'semseg'.*does not fit"):
            self.make("branches", from_single_task=runs)

    def test_every_parameter_has_one_rate(self) -> None:
        model = self.make()
        groups = parameter_groups(model, OptimizerSettings(), model.sgd_rate_factors())
        ids = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
