"""Differences between the task-specific attention of a network, from first to last layer.

Figure 6 of ASTMT (Maninis et al., CVPR 2019): t-SNE of the activations of squeeze-and-excitation
that belong to tasks, at equally spaced levels. In the text of the paper they are averaged over the
first 32 validation images for each task; in its caption they are from a single image. An average is
one vector per task, too few for t-SNE. So here every image gives one point per task (its
activations, one per channel), and the average of each task is an additional, larger point.

Distances in t-SNE mean little, so two numbers are computed as well: the difference between the
averages of two tasks, and the share of the variance between tasks rather than between images. Both
depend on the initial weights. If the layers of all tasks start from the same ImageNet weights, as
in the paper, the tasks are equal at first; with random weights they differ from the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.ops import SqueezeExcitation

from taskprism.errors import InputError
from taskprism.extras import import_extra
from taskprism.layers.modulation import TaskSwitch
from taskprism.models.base import MultiTaskModel
from taskprism.models.single_tasking import SingleTaskingModel
from taskprism.scoring.evaluation import evenly_spaced
from taskprism.visualization.plotting import LINES, MARKERS, plot_style

IMAGES = 32


@dataclass(frozen=True)
class Level:
    """Activations of one squeeze-and-excitation.

    Attributes:
        place: Path of the layer in the network.
        activations: Task -> ``(N, C)`` in (0, 1), one row per image.

    Example:
        >>> level = Level("encoder.0", {"a": np.zeros((4, 8)), "b": np.ones((4, 8))})
        >>> level.separation, level.distance
        (1.0, 1.0)
    """

    place: str
    activations: dict[str, np.ndarray]

    @property
    def separation(self) -> float:
        """Share of the variance between tasks: 0 if all tasks are equal, at most 1."""
        groups = np.stack(list(self.activations.values())).astype(np.float64)  # (T, N, C)
        total = ((groups - groups.mean(axis=(0, 1))) ** 2).sum()
        between = ((groups.mean(axis=1) - groups.mean(axis=(0, 1))) ** 2).sum() * groups.shape[1]
        return float(between / total) if total > 0 else 0.0

    @property
    def distance(self) -> float:
        """Mean absolute difference between the averages of two tasks, over all pairs of tasks."""
        means = [rows.mean(axis=0, dtype=np.float64) for rows in self.activations.values()]
        differences = [np.abs(a - b).mean() for a, b in combinations(means, 2)]
        return float(np.mean(differences)) if differences else 0.0


@torch.no_grad()
def collect_activations(model: MultiTaskModel, images: Iterable[Tensor]) -> list[Level]:
    """Collect the squeeze-and-excitation activations of every task, in the order of the network.

    Args:
        model: A model that runs one task at a time; its mode is not changed.
        images: ``(3, H, W)`` each, RGB in [0, 1].

    Raises:
        InputError: The model has no task-specific squeeze-and-excitation.

    Example:
        >>> from taskprism.models import create_model
        >>> model = create_model("astmt", {"semseg": 5, "depth": 1}, backbone="se_resnet14_quarter")
        >>> levels = collect_activations(model, [torch.rand(3, 64, 64)])
        >>> sorted(levels[0].activations)
        ['depth', 'semseg']
    """
    switches = _switches(model)
    if not isinstance(model, SingleTaskingModel) or not switches:
        raise InputError(
            f"The model {model.name} has no task-specific squeeze-and-excitation. Train astmt with "
            "squeeze_encoder or squeeze_decoder (`taskprism train rooms/astmt --out DIR`)."
        )
    order: list[str] = []
    kept: dict[str, dict[str, list[np.ndarray]]] = {}

    def hook(place: str, task: str) -> Any:
        def keep(module: Any, inputs: Any, output: Tensor) -> None:
            if place not in kept:
                order.append(place)
            rows = kept.setdefault(place, {}).setdefault(task, [])
            rows.append(output.flatten(1)[0].float().cpu().numpy())

        return keep

    was_training = model.training
    model.eval()
    with ExitStack() as stack:
        stack.callback(model.train, was_training)
        for place, switch in switches.items():
            for task, layer in switch.items():
                gate = layer.get_submodule("scale_activation")
                stack.callback(gate.register_forward_hook(hook(place, task)).remove)
        for image in images:
            model(model.normalize(image.unsqueeze(0).to(model.image_mean)))
    return [
        Level(place, {task: np.stack(rows) for task, rows in kept[place].items()})
        for place in order
    ]


def _switches(model: MultiTaskModel) -> dict[str, TaskSwitch]:
    """Squeeze-and-excitation modules with one layer per task of the model."""
    tasks = {task.name for task in model.tasks}
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, TaskSwitch)
        and tasks == set(module)
        and all(isinstance(layer, SqueezeExcitation) for layer in module.values())
    }


def check_embedding() -> Any:
    """Check that :func:`embed` can be used.

    Raises:
        TaskprismError: scikit-learn is not installed.
    """
    return import_extra("sklearn.manifold", "analysis", "t-SNE")


def embed(level: Level, seed: int = 0) -> dict[str, np.ndarray]:
    """Compute t-SNE of the activations of all images and tasks, and of the averages of tasks.

    Returns:
        Task -> ``(N + 1, 2)``: one point per image, then the point of the average.

    Raises:
        TaskprismError: scikit-learn is not installed.
        InputError: There are fewer than two images.

    Example:
        >>> random = np.random.default_rng(0)
        >>> level = Level("encoder.0", {"a": random.random((4, 8)), "b": random.random((4, 8))})
        >>> embed(level)["a"].shape
        (5, 2)
    """
    manifold = check_embedding()
    groups = [
        np.concatenate([rows, rows.mean(axis=0, keepdims=True)])
        for rows in level.activations.values()
    ]
    count = len(groups[0])
    if count < 3:
        raise InputError("t-SNE needs at least two images.")
    # Neighborhoods of at most half the points of a task, so that tasks can separate.
    perplexity = min(30.0, count / 2)
    points: Any = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        np.concatenate(groups)  # pyrefly: ignore[bad-argument-type]
    )
    return dict(zip(level.activations, points.reshape(-1, count, 2), strict=True))


def plot_modulation(
    levels: Sequence[Level], count: int = 6, title: str = "", seed: int = 0
) -> Figure:
    """Plot t-SNE at equally spaced levels, one color per task, with the differences of tasks.

    Args:
        levels: Result of :func:`collect_activations`.
        count: Number of levels to plot.
        title: Line above the plot.
        seed: Random seed of t-SNE.

    Example:
        >>> random = np.random.default_rng(0)
        >>> level = Level("encoder.0", {"a": random.random((4, 8)), "b": random.random((4, 8))})
        >>> len(plot_modulation([level]).axes)
        1
    """
    chosen = [levels[index] for index in evenly_spaced(len(levels), count)]
    columns = min(len(chosen), 3)
    lines = -(-len(chosen) // columns)
    with plot_style():
        figure = Figure(figsize=(2.6 * columns + 1.2, 2.7 * lines + 0.5), layout="constrained")
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        axes = figure.subplots(lines, columns, squeeze=False)
        for axis in axes.flat[len(chosen) :]:
            axis.set_visible(False)
        for axis, level in zip(axes.flat, chosen, strict=False):
            for index, (task, points) in enumerate(embed(level, seed).items()):
                look = {"color": LINES[index % len(LINES)], "marker": MARKERS[index % len(MARKERS)]}
                axis.scatter(*points[:-1].T, s=9, alpha=0.6, lw=0, **look)
                axis.scatter(*points[-1], s=80, edgecolor="white", lw=1.2, label=task, **look)
            width = next(iter(level.activations.values())).shape[1]
            axis.set_title(
                f"{level.place}, {width} channels\ntasks differ by {level.distance:.3f}, "
                f"{level.separation:.0%} of variance",
                fontsize=7.5,
                loc="left",
            )
            axis.set_xticks([])
            axis.set_yticks([])
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure
