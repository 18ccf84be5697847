"""A compiled model trains like the model itself, and its checkpoints have the same keys."""

from __future__ import annotations

import pytest
import torch

from taskprism.data import create_protocol
from taskprism.errors import InputError, TaskprismError
from taskprism.models import create_model
from taskprism.models.hub import load
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.training.compiling import check_compiler
from taskprism.training.run_directory import RunDirectory
from taskprism.training.trainer import Trainer


def trainer(folder, **settings):
    rooms = create_protocol(
        "rooms", tasks=["depth", "edge"], input_size=(32, 32), train_length=4, test_length=1
    )
    torch.manual_seed(0)
    options = {"backbone": "test_resnet", "neck_channels": 8}
    model = create_model("multi_task", rooms.tasks, **options)
    settings = {"data": {"batch_size": 2}, "epochs": 1, **settings}
    return Trainer(model, rooms, folder, reporter=Reporter(quiet=True), **settings)


def test_a_compiled_run_equals_one_that_is_not_and_resumes_as_it(tmp_path):
    plain, compiled = (
        trainer(None),
        trainer(tmp_path / "run", compile=True, compile_backend="eager", epochs=2),
    )
    plain.train()
    assert compiled.learner.model._compiled_call_impl is not None
    compiled._epoch()
    compiled._finish_epoch(0.0)
    expected = plain.learner.model.state_dict()
    found = load(RunDirectory(tmp_path / "run").find_checkpoint("last")).state_dict()
    assert found.keys() == expected.keys()
    resumed = trainer(None, epochs=2)
    resumed.learner.restore(RunDirectory(tmp_path / "run"))
    assert resumed.learner.position.epoch == 1
    # The rate of the first epoch of poly does not depend on the number of epochs.
    for key, value in expected.items():
        assert torch.allclose(found[key], value, atol=1e-6), key
    assert compiled.evaluate("test").keys() == {"depth", "edge"}


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
