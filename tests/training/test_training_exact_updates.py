"""Two processes with batches of B images make the same updates as one with batches of 2B.

Every registered model, every registered balancer, complete and missing labels. All cases run in
double precision in one pair of processes, so that a wrong share shows and rounding does not.
"""

from __future__ import annotations

import math
import os
import pickle
import socket
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from timm.layers import DropPath
from torch import Tensor, multiprocessing

from models.base import BUILT_IN, small_options
from taskprism.data import Protocol, TransformedDataset, make_sample
from taskprism.losses import BALANCERS, Balancing, list_balancers
from taskprism.models import create_model, find_model
from taskprism.progress import Reporter
from taskprism.tasks import Task, create_task
from taskprism.training.feeding import EpochOrder
from taskprism.training.trainer import Trainer

pytestmark = pytest.mark.slow
SIZE = (32, 32)
IMAGES = 7  # two batches; the last has two images for one process and one for the other
TASKS = (
    create_task("human_parts", 3, loss_weight=1.0),
    create_task("depth", losses="l1_gradient"),
    create_task("edge", positive_weight=None, loss_weight=2.0),
)
OTHER_LOSSES = (
    create_task(
        "human_parts",
        3,
        loss_weight=1.0,
        losses={"cross_entropy": {"label_smoothing": 0.1}, "dice": 1, "lovasz_softmax": 1},
        class_weights="balanced",
    ),
    create_task("depth", losses={"silog": 1, "berhu": 0.5}),
    create_task("edge", positive_weight=None, losses={"focal": 1, "dice": 0.5}),
)
NORMALS = create_task("normals", loss_weight=1.0)
ORDER = [draw.index for batch in EpochOrder(IMAGES, 4, seed=0, fewest=1).epoch(0) for draw in batch]
WITHOUT: dict[int, set[str]] = {  # place in the first epoch -> tasks without a label there
    **{place: {"depth"} for place in (1, 3)},  # the second process has no depth in the first batch
    2: {"edge", "normals"},
    **{place: {"human_parts"} for place in (4, 6)},  # no process has any in the last batch
    5: {"human_parts", "depth", "edge", "normals"},  # the second process has no label there
}


class Scenes(Protocol):
    """Random images and labels in memory; with ``partial``, holes and missing labels."""

    name = "scenes"
    tasks = (*TASKS, NORMALS)
    input_size = SIZE
    partial = False

    def dataset(self, split, transform=None):
        samples = [self.sample(index) for index in range(IMAGES)]
        return TransformedDataset(samples, transform)

    def sample(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(3, *SIZE, generator=generator)
        directions = torch.randn(3, *SIZE, generator=generator)
        labels = {
            "human_parts": (3 * image[0]).long().clamp(max=2),
            "depth": 1 + image[1],
            "edge": (image[2] > 0.8).float(),
            "normals": directions / directions.norm(dim=0),
        }
        valid = {task: torch.ones(SIZE, dtype=torch.bool) for task in labels}
        if self.partial:
            if index % 3 == 0:
                labels["human_parts"].zero_()  # an image without a person is not counted
            for mask in valid.values():
                mask &= torch.rand(SIZE, generator=generator) > 0.1 * (index % 7)
            for task in WITHOUT.get(ORDER.index(index), set()):
                del labels[task], valid[task]
        tasks = [task for task in self.tasks if task.name in labels]
        return make_sample(f"image {index}", image, labels, tasks, valid)


class PartialScenes(Scenes):
    name = "partial_scenes"
    partial = True


@dataclass(frozen=True)
class Case:
    """A model with a recipe.

    Attributes:
        model: Registered name.
        settings: Keys of the recipe.
        partial: Whether labels are missing.
        epochs: How long it trains.
        batch_norm: Statistics of the batch normalize features; otherwise constants, which takes
            half the time.
        tasks: Main tasks.
    """

    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    partial: bool = True
    epochs: int = 1
    batch_norm: bool = False
    tasks: tuple[Task, ...] = TASKS


def follows_epochs(name):
    """Whether a balancer changes after epochs, not only after steps."""
    balancing = BALANCERS.find(name)
    return getattr(balancing, "finish_epoch", None) is not Balancing.finish_epoch


PER_TASK = {"mode": "per_task", "adversarial": {"weight": 0.1}}
CASES: dict[str, Case] = {
    **{name: Case(name) for name in BUILT_IN},
    **{
        f"{model} {name}": Case(
            model, {"loss": {"balancing": name}}, epochs=3 if follows_epochs(name) else 1
        )
        for name in list_balancers()
        for model in ("multi_task", "pad_net")  # without and with initial predictions
        if name != "fixed"
    },
    "complete labels": Case("mti_net", partial=False),
    "astmt per task": Case("astmt", {"stepping": PER_TASK}),
    "astmt per task, complete labels": Case("astmt", {"stepping": PER_TASK}, partial=False),
    "adam": Case("multi_task", {"optimizer": {"name": "adam", "lr": 1e-3}}, epochs=2),
    "clipped": Case("multi_task", {"clip_norm": 0.1}),
    "accumulated": Case("mti_net", {"accumulate": 2, "clip_norm": 0.5}, epochs=2),
    "by image": Case("mti_net", {"loss": {"average": "images", "initial": "mean"}}),
    "consistency": Case(
        "multi_task", {"consistency": {"name": "mtpsl", "options": {"width": 2}}}, epochs=2
    ),
    "other losses": Case("mti_net", tasks=OTHER_LOSSES, epochs=2),
    "other losses, accumulated": Case("multi_task", {"accumulate": 2}, tasks=OTHER_LOSSES),
    "moving average": Case("multi_task", {"ema_decay": 0.9}),
    "batch norm": Case("multi_task", batch_norm=True),
    "batch norm, deep supervision": Case("mti_net", batch_norm=True),
    "batch norm, astmt per task": Case("astmt", {"stepping": PER_TASK}, batch_norm=True),
}


def run(case: Case, processes: int) -> dict[str, Tensor]:
    """Everything that training changes."""
    tasks: dict[str, Any] = {"tasks": list(case.tasks)}
    if find_model(case.model).uses_auxiliary_tasks:
        tasks["auxiliary_tasks"] = [NORMALS]
    options = small_options(case.model)
    if case.model == "mlore":  # random numbers, and a penalty that is not a sum over images
        options |= {"noise": False, "balance": 0.0}
    if "size" in options:
        options["size"] = SIZE
    torch.manual_seed(0)
    model = create_model(case.model, **tasks, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0  # its random numbers depend on the process
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and not case.batch_norm:
            module.eval().train = lambda mode=True, module=module: module
    settings = {
        "data": {"batch_size": 4 // processes},
        "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9},
        "schedule": {"name": "constant"},
        "sync_batch_norm": True,
        "epochs": 100,
        "evaluate_every": 100,
        **case.settings,
    }
    protocol = PartialScenes() if case.partial else Scenes()
    trainer = Trainer(model, protocol, reporter=Reporter(quiet=True), **settings)
    losses = {}
    for epoch in range(case.epochs):
        trainer._epoch()
        losses[f"losses {epoch}"] = torch.tensor(
            [*trainer.learner.meter.per_task().values(), trainer.learner.meter.total]
        )
        trainer._finish_epoch(0.0)
    return {
        **losses,
        **{
            f"model {key}": value.clone()
            for key, value in trainer.learner.result.state_dict().items()
        },
        **{
            f"{part} {key}": value
            for part in ("adversary", "balancing", "consistency")
            if (module := getattr(trainer.learner, part)) is not None
            for key, value in module.state_dict().items()
        },
        "steps": torch.tensor(trainer.learner.position.step),
    }


def sampled(values: Tensor) -> np.ndarray:
    """Sum, norm and up to 100 numbers of a tensor; an array, which is written and read faster."""
    flat = values.detach().double().flatten()
    return torch.cat([flat.sum()[None], flat.norm()[None], flat[:: 1 + len(flat) // 100]]).numpy()


def _process(rank: int, processes: int, port: int, folder: str, names: list[str]) -> None:
    """Some cases as one of ``processes``; an exception is the result of its case."""
    torch.set_num_threads(1)
    PartialState._reset_state()  # earlier tests of this process may have trained with one process
    AcceleratorState._reset_state()
    GradientState._reset_state()
    torch.set_default_dtype(torch.float64)  # of weights and what is computed with them
    os.environ |= {
        "ACCELERATE_USE_CPU": "true",
        **({} if processes == 1 else {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }),
    }  # fmt: skip
    results: dict[str, dict[str, np.ndarray] | str] = {}
    for name in names:
        try:
            done = run(CASES[name], processes)
            results[name] = {key: sampled(value) for key, value in done.items()}
        except Exception:
            results[name] = traceback.format_exc()
            if processes > 1:
                break  # the other process may be waiting
    Path(folder, f"{processes}-{rank}").write_bytes(pickle.dumps(results))


@pytest.fixture(scope="module")
def results(tmp_path_factory, request):
    """Of one process, and of each of two; all cases that are tested."""
    folder = str(tmp_path_factory.mktemp("results"))
    test = test_two_processes_update_like_one
    items = [item for item in request.session.items if getattr(item, "function", None) is test]
    names = [item.callspec.params["name"] for item in items]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    places = [(0, 1), (0, 2), (1, 2)]
    started = [
        context.Process(target=_process, args=(*place, port, folder, names)) for place in places
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(900)
        process.kill()
    return [pickle.loads(Path(folder, f"{size}-{rank}").read_bytes()) for rank, size in places]


#: Each balancing on the cheapest model, one model of each kind, and each way to train once.
OFTEN = {
    *(name for name in CASES if name.startswith("multi_task ")),
    *("multi_task", "pad_net", "astmt", "cross_stitch", "dpt"),
    *("complete labels", "astmt per task", "adam", "clipped", "accumulated", "by image"),
    *("consistency", "other losses, accumulated", "moving average", "batch norm"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in OFTEN else pytest.mark.nightly) for n in CASES]
)
def test_two_processes_update_like_one(results, name):
    one, *two = (found.get(name, "did not run") for found in results)
    for each in (one, *two):
        assert not isinstance(each, str), each
    for each in two:
        errors = differences(one, each)
        assert max(errors.values()) <= 1e-7, max(errors, key=errors.__getitem__)
    assert one["steps"][0] >= (1 if "accumulated" in name else 2)


def differences(one, other):
    """Largest difference of each part, relative to its largest number if that is over 1."""
    assert one.keys() == other.keys()
    found = {
        key: np.abs(other[key] - value).max() / max(1.0, np.abs(value).max())
        for key, value in one.items()
    }
    assert all(map(math.isfinite, found.values())), found
    return found
