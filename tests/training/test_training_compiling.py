"""A compiled model trains like the model itself, and its checkpoints have the same keys."""

from __future__ import annotations

import pytest
import torch

from taskprism.data import Protocol, TransformedDataset, make_sample
from taskprism.errors import InputError, TaskprismError
from taskprism.models import MultiTaskModel, Predictions, create_model, register_model
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.tasks import create_task
from taskprism.training.compiling import check_compiler
from taskprism.training.run_directory import RunDirectory
from taskprism.training.trainer import Trainer


class Pair(Protocol):
    name = "pair"
    tasks = (create_task("depth"),)
    input_size = (16, 16)

    def dataset(self, split, transform=None):
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(2, 3, 16, 16, generator=generator)
        labels = [{"depth": 1 + image[0]} for image in images]
        named = zip("ab", images, labels, strict=True)
        return TransformedDataset([make_sample(*each, self.tasks) for each in named], transform)


@register_model
class Shallow(MultiTaskModel):
    """One convolution."""

    name = "shallow_to_compile"

    def __init__(self, tasks, auxiliary_tasks=(), backbone=None):
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.heads = torch.nn.ModuleDict(
            {t.name: torch.nn.Conv2d(3, 1, 3, padding=1) for t in tasks}
        )

    def forward(self, images):
        return Predictions({name: head(images) for name, head in self.heads.items()})


def trainer(folder, **settings):
    torch.manual_seed(0)
    model = create_model(Shallow, Pair.tasks, backbone="test_resnet")
    settings = {"data": {"batch_size": 2}, "epochs": 3, **settings}
    return Trainer(model, Pair(), folder, reporter=Reporter(quiet=True), **settings)


@pytest.mark.slow
def test_a_compiled_run_equals_one_that_is_not_and_resumes_as_it(tmp_path):
    plain = trainer(None)
    compiled = trainer(tmp_path / "run", compile=True, compile_backend="eager")
    assert compiled.learner.model._compiled_call_impl is not None
    for each in (plain, compiled):
        each._epoch()
    compiled._save("last")
    expected = plain.learner.model.state_dict()
    resumed = trainer(None)
    resumed.learner.restore(RunDirectory(tmp_path / "run"))
    assert resumed.learner.position.images == 2
    found = resumed.learner.model.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.allclose(found[key], value, atol=1e-6), key


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compile_backend": "indoctor"}, "Unknown backend of torch.compile.*'inductor'"),
        ({"loss": {"balancing": "pcgrad"}}, "compile: true does not work with loss.balancing"),
        ({"consistency": {"name": "mtpsl"}}, "does not work with consistency.name: mtpsl"),
    ],
)
def test_what_cannot_be_compiled_is_refused(settings, message):
    with pytest.raises(TaskprismError, match=message):
        trainer(None, compile=True, **settings)


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler on cpu.*apt-get install g\+\+"):
        check_compiler(torch.device("cpu"))
    assert not Recipe().compile
