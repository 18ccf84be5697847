"""What every registered model promises, checked for all of them on small networks.

The list of models is the registry itself. A model from outside the package, registered by a
fixture, passes the same tests.
"""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree

import taskprism
from models.base import (
    AUXILIARY,
    BACKBONES,
    BUILT_IN,
    SIZE,
    TASKS,
    assert_equal_outputs,
    random_images,
    small_model,
    total_loss,
)
from taskprism.backbones import Backbone, ModulatedBackbone, TokenMaps, set_trainable, trunks
from taskprism.backbones.residual_stages import ResidualStages
from taskprism.backbones.staged import StagedTransformer
from taskprism.errors import InputError, UnknownNameError
from taskprism.models import (
    MODELS,
    EncoderSharingModel,
    MultiTask,
    MultiTaskModel,
    Predictions,
    SingleTaskingModel,
    find_model,
    model_parts,
    register_model,
)
from taskprism.models.inference import predict
from taskprism.registry import temporary_parts


class OutsideModel(MultiTask):
    """A model from outside the package."""

    name = "outside_model"


@pytest.fixture(autouse=True, scope="module")
def registered_outside() -> Iterator[None]:
    with temporary_parts():
        register_model(OutsideModel)
        yield


#: Name of the test -> name of the model and options that select a variant of it.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in (*BUILT_IN, OutsideModel.name)},
    "tpim_single_scale": ("tpim", {"single_scale": True}),
    "invpt_on_tokens": ("invpt", {"backbone": "test_vit", "neck": "none"}),
    "dpt_on_tokens": (
        "dpt",
        {"backbone": "test_vit", "neck": "none", "distillation": "spatial_attention"},
    ),
}
KINDS = ("branches", "pyramid")
EVERY = pytest.mark.parametrize("case", CASES)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def create(case: str, kind: str = "pyramid", **changes: Any) -> MultiTaskModel:
    name, options = CASES[case]
    return small_model(name, kind, **{**options, **changes})


created = functools.cache(create)


def make(case: str, kind: str = "pyramid") -> MultiTaskModel:
    """A copy of a model that is created once, which is quicker."""
    return copy.deepcopy(created(case, kind))


def declared(case: str) -> type[MultiTaskModel]:
    """Class whose attributes say what the model can do."""
    return find_model(CASES[case][0])


def with_auxiliary(case: str) -> dict[str, Any]:
    return {"auxiliary_tasks": AUXILIARY} if declared(case).uses_auxiliary_tasks else {}


@EVERY
def test_class(case: str) -> None:
    model, name = declared(case), CASES[case][0]
    assert name in taskprism.list_models()
    assert model.name == name
    assert inspect.getdoc(model)
    assert model.backbone_type in BACKBONES
    assert all(isinstance(option, str) for option in model.start_options)
    for attribute in (
        "uses_auxiliary_tasks",
        "has_initial_predictions",
        "any_input_size",
        "depends_on_task_order",
        "exports",
    ):
        assert isinstance(getattr(model, attribute), bool), attribute


@EVERY
@EVERY_KIND
def test_output_shapes(case: str, kind: str) -> None:
    model = make(case, kind).eval()
    assert isinstance(model, declared(case))
    assert [task.name for task in model.tasks] == list(TASKS)
    for size in (SIZE, (65, 97), (38, 51)):
        images = random_images(1, size)
        with torch.no_grad():
            if size != SIZE and not model.any_input_size:
                with pytest.raises(InputError, match="other_size"):
                    model(images)
                continue
            outputs = model(images)
        assert isinstance(outputs, Predictions)
        shapes = {task: tuple(output.shape) for task, output in outputs.items()}
        assert shapes == {task: (1, channels, *size) for task, channels in TASKS.items()}
        assert all(torch.isfinite(output).all() for output in outputs.values())
        assert bool(outputs.initial) == declared(case).has_initial_predictions
        for scale in outputs.initial:
            assert {task: output.shape[1] for task, output in scale.items()} == TASKS
        heights = [scale["depth"].shape[-2] for scale in outputs.initial]
        assert heights == sorted(heights, reverse=True), "not finest first"


@EVERY
def test_input_size(case: str) -> None:
    model = make(case)
    assert model.any_input_size == declared(case).any_input_size
    assert model.input_size == (None if model.any_input_size else SIZE)


@EVERY
@EVERY_KIND
def test_every_parameter_gets_a_finite_gradient(case: str, kind: str) -> None:
    model = make(case, kind).train()
    total_loss(model, random_images()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert gradients
    idle = {name for name, gradient in gradients.items() if gradient is None}
    assert {model_parts(model)[name] for name in idle} <= {"neck"}  # of maps that nothing reads
    found = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    assert [name for name, grad in found.items() if not torch.isfinite(grad).all()] == []


@EVERY
def test_a_task_without_labels_teaches_nothing(case: str) -> None:
    model = make(case).train()
    total_loss(model, random_images(), missing="depth").backward()
    named = dict(model.named_parameters())
    # Heads are filed by task: heads.TASK, or networks.TASK.heads.TASK.
    final = {name: p for name, p in named.items() if "heads.depth." in name}
    final = {name: p for name, p in final.items() if not name.startswith(("initial", "front_end"))}
    assert final
    assert all(p.grad is None or not p.grad.any() for p in final.values())
    learns = [p.grad for name, p in named.items() if "heads.semseg." in name]
    assert any(gradient is not None and gradient.any() for gradient in learns)


@EVERY
def test_a_frozen_backbone_learns_nothing(case: str) -> None:
    """The layers of each backbone are all in its groups, and none of them changes or is needed."""
    model = make(case)
    backbones = trunks(model)
    for backbone in backbones.values():
        for coarse in (True, False):
            named = [name for names in backbone.layer_groups(coarse) for name in names]
            assert sorted(named) == sorted(name for name, _ in backbone.named_parameters())
    set_trainable(model, "none")
    before = {path: copy.deepcopy(each.state_dict()) for path, each in backbones.items()}
    total_loss(model.train(), random_images()).backward()
    for path, backbone in backbones.items():
        assert all(p.grad is None for p in backbone.parameters())
        after = backbone.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before[path].items())
    idle = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert {model_parts(model)[name] for name in idle} <= {"neck"}  # of maps that nothing reads


@EVERY
def test_evaluation(case: str) -> None:
    """Evaluating changes nothing, and an image alone is predicted as in a batch."""
    model = make(case).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = random_images(2)
    with torch.no_grad():
        both, again, alone = model(images), model(images), model(images[:1])
    for task in TASKS:
        assert torch.equal(both[task], again[task])
        torch.testing.assert_close(both[task][:1], alone[task], rtol=1e-4, atol=1e-5)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@EVERY
def test_normalization(case: str) -> None:
    model = make(case)
    mean, std = model.image_mean, model.image_std
    assert mean.shape == std.shape == (3, 1, 1)
    assert bool((std > 0).all())
    assert not {"image_mean", "image_std"} & set(model.state_dict())
    images = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(model.normalize(images) * std + mean, images)
    assert model.config["image_mean"] == mean.flatten().tolist()
    assert model.config["image_std"] == std.flatten().tolist()


@EVERY
def test_prediction_of_a_photograph(case: str) -> None:
    model = make(case).train()
    decoded = predict(model, torch.rand(3, 50, 40))
    assert model.training
    assert {name: tuple(each.shape) for name, each in decoded.items()} == {
        "semseg": (1, 50, 40),
        "depth": (1, 50, 40),
    }


@EVERY
@EVERY_KIND
def test_saved_and_loaded(case: str, kind: str, tmp_path: Path) -> None:
    model = create(case, kind, **with_auxiliary(case)).eval()
    model.image_mean.fill_(0.25)
    model.config["image_mean"] = [0.25] * 3
    model.save_pretrained(tmp_path)
    loaded = taskprism.load(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert loaded.tasks == model.tasks
    assert loaded.auxiliary_tasks == model.auxiliary_tasks
    assert not loaded.training
    assert torch.equal(loaded.image_mean, model.image_mean)
    assert_equal_outputs(model, loaded)


@EVERY
def test_one_seed_gives_one_model(case: str) -> None:
    first, second = make(case), create(case)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert_equal_outputs(first, second)


@EVERY
def test_copies_and_pickles(case: str) -> None:
    model = created(case)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin is not model
        assert twin.config == model.config
        assert_equal_outputs(model, twin)


@EVERY
def test_auxiliary_tasks(case: str) -> None:
    if not declared(case).uses_auxiliary_tasks:
        with pytest.raises(InputError, match="no front end"):
            create(case, auxiliary_tasks=AUXILIARY)
        return
    model = create(case, auxiliary_tasks=AUXILIARY)
    assert [task.name for task in model.all_tasks] == [*TASKS, *AUXILIARY]
    outputs = model(random_images())
    assert list(outputs) == list(TASKS)
    for scale in outputs.initial:
        assert {t: x.shape[1] for t, x in scale.items()} == {**TASKS, **AUXILIARY}
    with pytest.raises(InputError, match="named twice"):
        create(case, auxiliary_tasks={"depth": 1})


@EVERY
def test_order_of_tasks(case: str) -> None:
    """Weights fit the same tasks in another order, unless the class says that they do not."""
    tasks = {**TASKS, "edge": 1}
    model = create(case, tasks=tasks).eval()
    reverse = create(case, tasks=dict(reversed(tasks.items()))).eval()
    assert list(reverse.tasks) == list(reversed(model.tasks))
    with torch.no_grad():
        for parameter in model.parameters():  # initial weights may treat all tasks alike
            parameter.add_(0.1 * torch.randn_like(parameter))
    try:
        reverse.load_state_dict(model.state_dict())
    except RuntimeError:
        same = False
    else:
        with torch.no_grad():
            a, b = model(random_images(1)), reverse(random_images(1))
        assert list(b) == list(reversed(tasks))
        same = all(torch.allclose(a[task], b[task], rtol=1e-4, atol=1e-5) for task in tasks)
    assert same != declared(case).depends_on_task_order


#: Tracing takes up to 20 seconds; the others are traced at night.
OFTEN = ("multi_task", "mti_net", "ctal", "astmt", "dpt", OutsideModel.name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c in OFTEN else pytest.mark.nightly) for c in CASES],
)
def test_exports(case: str) -> None:
    if not declared(case).exports:
        pytest.skip("declares that torch.export cannot trace it")
    model = make(case).eval()
    images = random_images(1)
    with torch.no_grad():
        exported = torch.export.export(model, (images,)).module()(images)
        direct = model(images)
    for a, b in zip(_pytree.tree_leaves(exported), _pytree.tree_leaves(direct), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@EVERY
def test_a_single_task_is_enough(case: str) -> None:
    model = create(case, tasks={"depth": 1}).eval()
    assert list(model(random_images())) == ["depth"]


@EVERY
def test_wrong_names(case: str) -> None:
    name = CASES[case][0]
    wrong, right = {
        Backbone: ("neck_chanels", "neck_channels"),
        ResidualStages: ("output_strides", "output_stride"),
        ModulatedBackbone: ("adaptors", "adapters"),
        TokenMaps: ("clas_token", "class_token"),
        StagedTransformer: ("image_sise", "image_size"),
    }[declared(case).backbone_type]
    with pytest.raises(UnknownNameError, match=f"{name}' '{wrong}'.*'{right}'"):
        create(case, **{wrong: 3})
    with pytest.raises(UnknownNameError, match="'resnet_of_nobody'"):
        create(case, backbone="resnet_of_nobody")
    with pytest.raises(InputError, match="at least one main task"):
        create(case, tasks={})


@EVERY
def test_learning_rates(case: str) -> None:
    """Factors are positive, and no parameter has two of them."""
    model = make(case)
    own = {id(parameter) for parameter in model.parameters()}
    factors = model.sgd_rate_factors()
    ids = [id(parameter) for parameters, _ in factors for parameter in parameters]
    assert len(ids) == len(set(ids))
    assert set(ids) <= own
    assert all(factor > 0 for _, factor in factors)


OF_ONE_TASK = [
    case
    for case, (name, _) in CASES.items()
    if name in MODELS and issubclass(MODELS.find(name), SingleTaskingModel)
]


@pytest.mark.parametrize("case", OF_ONE_TASK)
def test_one_task_at_a_time(case: str) -> None:
    """Only the tasks that are asked for are computed, with the same numbers."""
    model = make(case).eval()
    assert isinstance(model, SingleTaskingModel)
    images = random_images(1)
    with torch.no_grad():
        both, alone = model(images), model(images, ["depth"])
        maps = model.interface(images, ["depth"])
    assert list(alone) == ["depth"]
    assert torch.equal(alone["depth"], both["depth"])
    assert list(maps) == ["depth"]
    assert maps["depth"][-1].shape[1] == model.interface_channels
    own = {id(parameter) for parameter in model.own_parameters()}
    assert own <= {id(parameter) for parameter in model.parameters()}
    model.train()(random_images(), ["depth"])["depth"].sum().backward()
    touched = [n for n, p in model.named_parameters() if p.grad is not None]
    assert not [name for name in touched if "semseg" in name.split(".")]
    with pytest.raises(UnknownNameError, match=f"task of this {model.name} 'dept'.*'depth'"):
        model(images, ["dept"])


def test_every_type_of_model_is_covered() -> None:
    models = [declared(case) for case in CASES]
    assert len(models) >= 18
    assert len(OF_ONE_TASK) == 2
    for base in (SingleTaskingModel, EncoderSharingModel):
        assert any(issubclass(model, base) for model in models)
    assert {model.backbone_type for model in models} == set(BACKBONES)
