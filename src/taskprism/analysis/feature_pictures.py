"""Pictures of features: their first principal components as colors.

Figure 1 of ASTMT (Maninis et al., CVPR 2019): for each layer, a principal component analysis over
the positions of all tasks' maps together, so that equal colors in different columns mean equal
features; the first three components are red, green and blue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

import numpy as np
import torch
from torch import Tensor

from taskprism.analysis.features import FeatureMaps, collect_features
from taskprism.analysis.picking import spread
from taskprism.analysis.strides import stride_of
from taskprism.errors import InputError
from taskprism.models.base import MultiTaskModel
from taskprism.tasks.base import Task
from taskprism.visualization.canvas import tile_size
from taskprism.visualization.grids import GridRow, grid

SHARED = "shared"
_TILE_WIDTH = 150


def principal_pictures(maps: Mapping[str, Tensor]) -> tuple[dict[str, np.ndarray], float]:
    """First three principal components of some maps, on one basis and one color scale.

    Args:
        maps: Name -> ``(C, h, w)``, C the same for all.

    Returns:
        Name -> ``(h, w, 3)`` uint8, and the share of the variance that the colors show. Each
        component goes from its 1st to its 99th percentile; its sign is such that its largest weight
        is positive. Missing components (C < 3) are half bright.
    """
    sizes = {name: each.shape[-2:] for name, each in maps.items()}
    points = torch.cat([each.flatten(1).T.double().cpu() for each in maps.values()])
    centerd = points - points.mean(dim=0)
    covariance = centerd.T @ centerd / len(points)
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    basis = vectors.flip(1)[:, :3]
    largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
    components = centerd @ (basis * torch.where(largest < 0, -1.0, 1.0))
    low, high = np.percentile(components.numpy(), [1, 99], axis=0)
    unit = np.clip((components.numpy() - low) / np.maximum(high - low, 1e-12), 0, 1)
    unit = np.where(high - low > 1e-12, unit, 0.5)
    colors = np.full((len(points), 3), 0.5)
    colors[:, : unit.shape[1]] = unit
    pixels = (colors * 255).round().astype(np.uint8)
    pictures, start = {}, 0
    for name, (height, width) in sizes.items():
        pictures[name] = pixels[start : start + height * width].reshape(height, width, 3)
        start += height * width
    total = float(values.clamp(min=0).sum())
    return pictures, float(values[-3:].clamp(min=0).sum()) / total if total > 0 else 0.0


def choose_places(
    places: Sequence[FeatureMaps], patterns: Sequence[str], rows: int
) -> list[FeatureMaps]:
    """Places whose names fit a pattern; without patterns, some spread over the network.

    Raises:
        InputError: A pattern fits no place; the message names them all.
    """
    names = [place.place for place in places]
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in names):
            raise InputError(
                f"No place of the network is like {pattern!r}; there are {', '.join(names)}."
            )
    if patterns:
        return [p for p in places if any(_fits(p.place, pattern) for pattern in patterns)]
    of_tasks = [place for place in places if place.tasks]
    candidates = of_tasks if len(of_tasks) >= rows else list(places)
    return [candidates[index] for index in spread(len(candidates), rows)]


def _fits(name: str, pattern: str) -> bool:
    """Whether they are equal, or the name is like the pattern (both use ``*`` and brackets)."""
    return name == pattern or fnmatch(name, pattern)


@torch.no_grad()
def feature_sheet(
    model: MultiTaskModel,
    image: Tensor,
    patterns: Sequence[str] = (),
    rows: int = 6,
    title: str = "",
) -> np.ndarray:
    """An image, its predictions, and below them the features of every task, layer by layer.

    The first column shows the shared backbone's map of the same size, on a basis of its own.

    Args:
        model: Any, on any device.
        image: ``(3, H, W)`` RGB in [0, 1], of a size that the model takes.
        patterns: Names of places as :func:`~taskprism.analysis.features.collect_features` gives
            them, with ``*`` and ``?`` for any letters; by default some spread over the network.
        rows: How many places, if there are no patterns.
        title: Line of text above.

    Returns:
        ``(height, width, 3)`` uint8 RGB.

    Raises:
        InputError: The model keeps no features per task, or a pattern fits no place.
    """
    batch = model.normalize(image.unsqueeze(0).to(model.image_mean))
    places = choose_places(collect_features(model, batch), patterns, rows)
    if not places:
        raise InputError(f"This {model.name} has no feature maps of tasks to show.")
    names = list(dict.fromkeys(task for place in places for task in place.tasks))
    drawn = [_row(place, names, image.shape[-2:]) for place in places]
    first = _outputs(model, batch, image, names)
    with_shared = any(place.shared is not None for place in places)
    columns = [SHARED if with_shared else "image", *names]
    width, height = tile_size(image.shape[-2], image.shape[-1], _TILE_WIDTH)
    return grid([first, *drawn], columns, (width, height), title)


def _row(place: FeatureMaps, names: Sequence[str], image_size: Sequence[int]) -> GridRow:
    pictures: list[np.ndarray | None] = [None] * (len(names) + 1)
    shares = []
    any_map = next(iter(place.tasks.values())) if place.tasks else place.shared
    if place.shared is not None:
        shown, share = principal_pictures({SHARED: place.shared[0]})
        pictures[0] = shown[SHARED]
        shares.append(f"shared {share:.0%}")
    if place.tasks:
        shown, share = principal_pictures({task: each[0] for task, each in place.tasks.items()})
        for index, name in enumerate(names, start=1):
            pictures[index] = shown.get(name)
        shares.append(f"tasks {share:.0%}")
    assert any_map is not None  # a place holds something
    height, width = any_map.shape[-2:]
    scale = f"1/{stride_of(image_size, (height, width))} ({height} x {width})"
    return GridRow(f"{place.place}, {scale}; variance shown: {', '.join(shares)}", pictures)


def _outputs(model: MultiTaskModel, batch: Tensor, image: Tensor, names: Sequence[str]) -> GridRow:
    """The image and what is predicted from it."""
    was_training = model.training
    model.eval()
    outputs = model(batch)
    model.train(was_training)
    pixels = (image.cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    tasks: dict[str, Task] = {task.name: task for task in model.tasks}
    predicted = [
        tasks[name].color(tasks[name].decode(outputs[name].float())[0].cpu())
        if name in tasks
        else None
        for name in names
    ]
    return GridRow("image and predictions", [pixels, *predicted], smooth=True)
