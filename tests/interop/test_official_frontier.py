"""Released checkpoints of systems on transformers: strict import, and the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from interop.official_cases import FRONTIER
from reference import released_frontier
from reference.released_layers import Released
from taskprism.interop import import_official

pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta")

NYUD = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 2, "normals": 3, "edge": 1}
#: Of MTLoRA, by the order of its source.
PASCAL_4 = {"semseg": 21, "normals": 3, "saliency": 1, "human_parts": 7}
NYUD_4 = {"semseg": 40, "normals": 3, "edge": 1, "depth": 1}
SMALL = (128, 192)


@dataclass(frozen=True)
class Numbers:
    """A small checkpoint whose outputs are compared with a restatement.

    Attributes:
        source: Name of the source, and of the model.
        tasks: Main tasks.
        run: Restatement: tensors, images, released name -> channels of the tasks -> outputs.
        size: Of the images.
        options: Options of the import.
    """

    source: str
    tasks: dict[str, int]
    run: Callable[..., Any]
    size: tuple[int, int] = (64, 128)
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.source}-{len(self.tasks)}"


NUMBERS = [
    Numbers(
        "invpt",
        {"semseg": 5, "saliency": 2, "depth": 1},
        lambda p, x, tasks: released_frontier.invpt(p, x, tasks, 192, channels=16, extra=8),
    ),
    Numbers(
        "mlore",
        {"semseg": 5, "depth": 1},
        lambda p, x, tasks: released_frontier.mlore(p, x, tasks, 192, 8, (1, 2, 3), 2, 2),
        options={"kept": 2},
    ),
    Numbers(
        "mlore",
        {"semseg": 5, "human_parts": 3, "saliency": 2},
        lambda p, x, tasks: released_frontier.mlore(p, x, tasks, 192, 8, (1, 2, 3), 2, 2, True),
        options={"kept": 2},
    ),
    Numbers(
        "taskprompter",
        {"semseg": 5, "depth": 1},
        lambda p, x, tasks: released_frontier.taskprompter(p, x, tasks, 192, 8, 6, 4, False),
    ),
    Numbers(
        "taskprompter",
        {"semseg": 5, "human_parts": 3, "saliency": 2},
        lambda p, x, tasks: released_frontier.taskprompter(p, x, tasks, 192, 8, 6, 2, True),
        options={"windows": 2},
    ),
    Numbers(
        "mtlora",
        {"semseg": 5, "saliency": 1},
        lambda p, x, tasks: released_frontier.mtlora(p, x, tasks, rank=3),
        size=(224, 224),
    ),
]


def released_names(tasks: dict[str, int]) -> dict[str, int]:
    return {{"saliency": "sal"}.get(task, task): channels for task, channels in tasks.items()}


def _cost(table: str) -> list[Any]:
    """Networks of full size are slow to create, even without values."""
    is_small = "vitT" in table or table == "mtlora__nyud_mtlora_tiny_448_r64_scale4_pertask"
    return [] if is_small else [pytest.mark.nightly]


@pytest.mark.parametrize("table", [pytest.param(t, marks=_cost(t)) for t in FRONTIER])
def test_every_released_tensor_is_imported(
    table: str, released_shapes: Callable[[str], dict[str, tuple[int, ...]]], tmp_path: Path
) -> None:
    """Only names and shapes are needed, and every tensor repeats one number."""
    shapes = released_shapes(table)
    source, _, name = table.partition("__")
    file = tmp_path / "file.pth"
    tensors = {f"module.{n}": torch.zeros(()).expand(shape) for n, shape in shapes.items()}
    torch.save({"model": tensors, "iter_count": 1}, file)
    is_nyud = name.startswith("nyud")
    is_small = shapes.get("backbone.pos_embed", (0, 0))[1] == 8 * 12 + 1
    tasks = NYUD if is_nyud else PASCAL
    if source == "mtlora":
        tasks = NYUD_4 if is_nyud else PASCAL_4
    options: dict[str, Any] = {"size": SMALL} if is_small else {}
    options |= {"mode": "matrixv2"} if name.endswith("matrixv2") else {}
    with torch.device("meta"):
        model = import_official(file, source, source, dict(reversed(tasks.items())), **options)
    own = sum(tensor.numel() for tensor in model.state_dict().values())
    released = sum(torch.Size(shape).numel() for shape in shapes.values())
    assert (0.9 if table == "mlore__pascal_vitB" else 0.95) * released < own <= released
    assert [task.name for task in model.tasks] == list(tasks)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.nightly] * (case.source == "mtlora"))
        for case in NUMBERS
    ],
    ids=str,
)
def test_outputs_match_the_restatement(case: Numbers, tmp_path: Path) -> None:
    released = Released(seed=1)
    images = torch.randn(1, 3, *case.size, dtype=torch.float64)
    with torch.no_grad():
        expected, initial = case.run(released, images, released_names(case.tasks))
    file = tmp_path / "file.pth"
    torch.save({"model": dict(released)}, file)
    model = import_official(
        file, case.source, case.source, case.tasks, size=case.size, **case.options
    )
    with torch.no_grad():
        exact, single = model.double()(images), model.float()(images.float())
    for task, released_task in zip(case.tasks, released_names(case.tasks), strict=True):
        truth = expected[released_task]
        assert truth.std() > 1e-3
        assert ((exact[task] - truth).norm() / truth.norm()).item() < 1e-8
        assert ((single[task] - truth).norm() / truth.norm()).item() < 1e-4
    assert len(exact.initial) == len(initial)
    for scale, truth in zip(exact.initial, initial, strict=True):
        for task, released_task in zip(case.tasks, released_names(case.tasks), strict=True):
            torch.testing.assert_close(scale[task], truth[released_task])
