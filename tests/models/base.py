"""The test that every model passes: a file per model subclasses :class:`ModelTests`."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree

import taskprism
from taskprism.errors import InputError, UnknownNameError
from taskprism.models import MultiTaskModel, Predictions, create_model, find_model

BACKBONES: dict[str, dict[str, Any]] = {
    "branches": {"backbone": "hrnet_w18_small"},
    "pyramid": {"backbone": "mobilenetv2_050", "neck_channels": 32},
}


class ModelTests:
    """Checks that the class attributes of a model (its capabilities) hold.

    Attributes:
        name: Key in ``MODELS``.
        options: Given to every model that is built here.
        size: Input image.
    """

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    size: ClassVar[tuple[int, int]] = (64, 96)

    tasks: ClassVar[dict[str, int]] = {"semseg": 5, "depth": 1}
    auxiliary: ClassVar[dict[str, int]] = {"edge": 1, "normals": 3}

    def make(self, kind: str = "pyramid", **changes: Any) -> MultiTaskModel:
        """Build the model with random weights of seed 0."""
        torch.manual_seed(0)
        arguments = {"tasks": self.tasks, **BACKBONES[kind], **self.options, **changes}
        return create_model(self.name, **arguments)

    def images(self, batch: int = 2, size: tuple[int, int] | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(batch, 3, *(size or self.size), generator=generator)

    def test_is_listed(self) -> None:
        assert self.name in taskprism.list_models()

    @pytest.mark.parametrize("kind", BACKBONES)
    @pytest.mark.parametrize("size", [None, (65, 97), (38, 51)])
    def test_output_shapes(self, kind: str, size: tuple[int, int] | None) -> None:
        chosen = find_model(self.name)
        if size is not None and not chosen.any_input_size:
            pytest.skip("built for one input size")
        model = self.make(kind).eval()
        images = self.images(1, size)
        with torch.no_grad():
            outputs = model(images)
        assert isinstance(outputs, Predictions)
        shapes = {task: tuple(output.shape) for task, output in outputs.items()}
        assert shapes == {t: (1, n, *images.shape[-2:]) for t, n in self.tasks.items()}
        assert bool(outputs.initial) == chosen.has_initial_predictions
        heights = [scale["depth"].shape[-2] for scale in outputs.initial]
        assert heights == sorted(heights, reverse=True), "not finest first"

    @pytest.mark.parametrize("kind", BACKBONES)
    def test_every_parameter_gets_a_finite_gradient(self, kind: str) -> None:
        model = self.make(kind).train()
        self.loss(model, self.images()).backward()
        without = [name for name, p in model.named_parameters() if p.grad is None]
        assert without == []
        broken = [n for n, p in model.named_parameters() if not torch.isfinite(p.grad).all()]
        assert broken == []

    def test_a_missing_task_is_silent(self) -> None:
        model = self.make().train()
        self.loss(model, self.images(), missing="depth").backward()
        final = [p for name, p in model.named_parameters() if name.startswith("heads.depth.")]
        assert final
        assert all(p.grad is None or not p.grad.any() for p in final)
        assert any(
            p.grad.any() for n, p in model.named_parameters() if n.startswith("heads.semseg.")
        )

    def test_an_image_alone_is_predicted_as_in_a_batch(self) -> None:
        model = self.make().eval()
        images = self.images(2)
        with torch.no_grad():
            both, alone = model(images), model(images[:1])
        for task in self.tasks:
            torch.testing.assert_close(both[task][:1], alone[task], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("kind", BACKBONES)
    def test_saved_and_loaded_it_is_the_same(self, kind: str, tmp_path) -> None:
        model = self.make(kind, **self._with_auxiliary()).eval()
        model.image_mean.fill_(0.25)
        model.config["image_mean"] = [0.25] * 3
        model.save_pretrained(tmp_path)
        loaded = taskprism.load(tmp_path)
        assert loaded.config == model.config
        assert loaded.tasks == model.tasks
        assert loaded.auxiliary_tasks == model.auxiliary_tasks
        assert not loaded.training
        assert torch.equal(loaded.image_mean, model.image_mean)
        self.assert_equal_outputs(model, loaded)

    def test_one_seed_gives_one_model(self) -> None:
        first, second = self.make(), self.make()
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
            assert torch.equal(a, b)
        self.assert_equal_outputs(first, second)

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_copies_and_pickles(self, duplicate) -> None:
        model = self.make()
        twin = duplicate(model)
        assert twin.config == model.config
        self.assert_equal_outputs(model, twin)

    def test_auxiliary_tasks(self) -> None:
        if not find_model(self.name).uses_auxiliary_tasks:
            with pytest.raises(InputError, match="no front end"):
                self.make(auxiliary_tasks=self.auxiliary)
            return
        model = self.make(auxiliary_tasks=self.auxiliary)
        outputs = model(self.images())
        assert list(outputs) == list(self.tasks)
        for scale in outputs.initial:
            assert {task: x.shape[1] for task, x in scale.items()} == {
                **self.tasks,
                **self.auxiliary,
            }
        with pytest.raises(InputError, match="named twice"):
            self.make(auxiliary_tasks={"depth": 1})

    def test_order_of_tasks(self) -> None:
        if find_model(self.name).depends_on_task_order:
            pytest.skip("a layer depends on the order")
        model = self.make().eval()
        turned = self.make(tasks=dict(reversed(self.tasks.items()))).eval()
        turned.load_state_dict(model.state_dict())
        with torch.no_grad():
            a, b = model(self.images()), turned(self.images())
        assert list(b) == list(reversed(self.tasks))
        for task in self.tasks:
            torch.testing.assert_close(a[task], b[task])

    def test_exports(self) -> None:
        if not find_model(self.name).exports:
            pytest.skip("torch.export cannot take it")
        model = self.make().eval()
        images = self.images(1)
        with torch.no_grad():
            exported = torch.export.export(model, (images,)).module()(images)
            direct = model(images)
        for a, b in zip(_pytree.tree_leaves(exported), _pytree.tree_leaves(direct), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)

    def test_a_single_task_is_enough(self) -> None:
        model = self.make(tasks={"depth": 1}).eval()
        assert list(model(self.images())) == ["depth"]

    def test_an_unknown_option_is_named(self) -> None:
        with pytest.raises(UnknownNameError, match=r"'neck_chanels'.*'neck_channels'"):
            self.make(neck_chanels=3)

    def loss(self, model: MultiTaskModel, images: Tensor, missing: str = "") -> Tensor:
        """Sum of the losses of all final and initial predictions against zeros."""
        outputs = model(images)
        total = images.new_zeros(())
        for task in model.all_tasks:
            predictions = [outputs[task.name]] if task.name in outputs else []
            predictions += [scale[task.name] for scale in outputs.initial]
            for each in predictions:
                shape = (len(images), task.target_channels, *each.shape[-2:])
                target = torch.full(shape, 0.5).to(task.target_dtype)
                valid = torch.full((len(images), 1, *each.shape[-2:]), task.name != missing)
                total = total + task.loss(each, target, valid)
        assert torch.isfinite(total)
        return total

    def assert_equal_outputs(self, one: MultiTaskModel, other: MultiTaskModel) -> None:
        one.eval()
        other.eval()
        with torch.no_grad():
            a, b = one(self.images()), other(self.images())
        assert list(a) == list(b)
        for x, y in zip(_pytree.tree_leaves(a), _pytree.tree_leaves(b), strict=True):
            assert torch.equal(x, y)

    def _with_auxiliary(self) -> dict[str, Any]:
        if find_model(self.name).uses_auxiliary_tasks:
            return {"auxiliary_tasks": self.auxiliary}
        return {}
