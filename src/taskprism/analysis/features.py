"""Feature maps of each task, collected while a network runs.

Models do not declare where these maps are. They are found by structure: modules of one task are in
a module dictionary under the name of the task, modules that combine tasks return dictionaries by
task, and a network that runs one task at a time (ASTMT) is run once per task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.errors import InputError
from taskprism.layers.modulation import TaskSwitch
from taskprism.models.base import MultiTaskModel
from taskprism.models.single_tasking import SingleTaskingModel
from taskprism.scoring.evaluation import evenly_spaced
from taskprism.tasks.base import Task
from taskprism.visualization.canvas import tile_size
from taskprism.visualization.grids import GridRow, grid

_ANY_TASK = "*"


@dataclass
class FeatureMaps:
    """Feature maps at one place of a network.

    Attributes:
        place: Path of the module, with ``*`` for the name of the task.
        tasks: Task -> ``(B, C, h, w)``, with equal C.
        shared: ``(B, C', h, w)``: map of the shared backbone with the same size, if there is one.

    Example:
        >>> FeatureMaps("heads.*", {"depth": torch.zeros(1, 8, 4, 4)}).shared is None
        True
    """

    place: str
    tasks: dict[str, Tensor] = field(default_factory=dict)
    shared: Tensor | None = None


@torch.no_grad()
def collect_features(model: MultiTaskModel, images: Tensor) -> list[FeatureMaps]:
    """Run a model and collect the features of its tasks.

    Args:
        model: Any model; its mode is not changed.
        images: Normalized images ``(B, 3, H, W)`` on the device of the model.

    Returns:
        Places in the order in which the network computes them, without raw predictions. A map of
        the shared backbone is a separate place if no task has features of its size.

    Example:
        >>> from taskprism.models import create_model
        >>> model = create_model("pad_net", {"semseg": 5, "depth": 1}, backbone="test_resnet")
        >>> collect_features(model, torch.rand(1, 3, 32, 48))[-1].place
        'heads.*.1'
    """
    recorder = _Recorder(model)
    was_training = model.training
    model.eval()
    try:
        if isinstance(model, SingleTaskingModel):
            for task in model.check_task_names(None):
                with recorder.watching(_layers_that_switch(model), task):
                    model(images, [task])
        else:
            with recorder.watching(dict(model.named_modules()), None):
                model(images)
    finally:
        model.train(was_training)
    return recorder.places()


def _layers_that_switch(model: nn.Module) -> dict[str, nn.Module]:
    """Outermost modules with a layer per task as direct child: blocks and decoder units."""
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{other}.") for other in found)
        if not inside and any(isinstance(part, TaskSwitch) for part in module.children()):
            found[path] = module
    return found


class _Recorder:
    """Collects the outputs of modules by place and task."""

    def __init__(self, model: MultiTaskModel) -> None:
        self.channels = {task.name: task.channels for task in model.all_tasks}
        self.known: dict[str, FeatureMaps] = {}
        self.shared: list[Tensor] = []
        self.modules = dict(model.named_modules())
        self.backbones: list[str] = []

    def watching(self, modules: Mapping[str, nn.Module], task: str | None) -> ExitStack:
        """Add hooks to modules; the context removes them at its end."""
        stack = ExitStack()
        for path, module in modules.items():
            hook = module.register_forward_hook(self._hook(path, task))
            stack.callback(hook.remove)
        return stack

    def _hook(self, path: str, task: str | None) -> Callable[[nn.Module, Any, Any], None]:
        place, owner = (path, task) if task is not None else self._owner(path)

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if owner is not None:
                maps = list(_maps(output))
                for index, each in enumerate(maps):
                    name = f"{place}[{index}]" if len(maps) > 1 else place
                    self._add(name, {owner: each})
            elif isinstance(output, dict) and self.channels.keys() >= output.keys():
                self._add(path, output)
            elif isinstance(module, Backbone) and not self._in_backbone(path):
                self.backbones.append(path)
                self.shared += _maps(output)

        return keep

    def _owner(self, path: str) -> tuple[str, str | None]:
        """Place and task of a module under the name of a task, at most one level deeper.

        A module under the names of two tasks (a message between tasks) belongs to neither.
        """
        parts = path.split(".")
        named = [
            index
            for index, part in enumerate(parts)
            if part in self.channels
            and isinstance(self.modules.get(".".join(parts[:index])), nn.ModuleDict)
        ]
        if len(named) != 1 or len(parts) - named[0] > 2:
            return path, None
        above = self.modules[".".join(parts[: named[0] + 1])]
        if isinstance(above, Backbone) and len(parts) - named[0] == 2:
            return path, None  # a part of the backbone of a single task
        task = parts[named[0]]
        return ".".join([*parts[: named[0]], _ANY_TASK, *parts[named[0] + 1 :]]), task

    def _in_backbone(self, path: str) -> bool:
        """Whether a backbone is part of another backbone, whose maps are used instead.

        The part returns before the whole, so the structure is checked.
        """
        parts = path.split(".")
        above = (self.modules.get(".".join(parts[:end])) for end in range(1, len(parts)))
        return any(isinstance(module, Backbone) for module in above)

    def _add(self, place: str, maps: Mapping[str, Any]) -> None:
        known = self.known.setdefault(place, FeatureMaps(place))
        for task, each in maps.items():
            if isinstance(each, Tensor) and each.ndim == 4:
                known.tasks[task] = each

    def places(self) -> list[FeatureMaps]:
        """Places with features, each tensor once.

        For a module of a task its output is used, or if that is the raw prediction, the last map
        inside the module.
        """
        useful = {path: place for path, place in self.known.items() if self._has_features(place)}
        last = {self._whole(path): path for path in useful}
        found: list[FeatureMaps] = []
        seen: set[int] = set()
        for path, place in useful.items():
            whole = self._whole(path)
            is_part = whole != path
            if is_part and (whole in useful or last[whole] != path):
                continue
            if all(id(each) in seen for each in place.tasks.values()):
                continue
            seen |= {id(each) for each in place.tasks.values()}
            found.append(place)
        return self._with_shared(found)

    def _has_features(self, place: FeatureMaps) -> bool:
        """Whether maps have equal widths and several pixels, and are not raw predictions."""
        maps = place.tasks
        is_raw = all(each.shape[1] == self.channels[task] for task, each in maps.items())
        is_map = all(each.shape[-2] * each.shape[-1] > 1 for each in maps.values())
        return is_map and not is_raw and len({each.shape[1] for each in maps.values()}) == 1

    @staticmethod
    def _whole(path: str) -> str:
        """Path of the module of a task that contains ``path``, or is ``path``."""
        above, star, _ = path.partition(f".{_ANY_TASK}.")
        return f"{above}.{_ANY_TASK}" if star else path

    def _with_shared(self, found: list[FeatureMaps]) -> list[FeatureMaps]:
        alone = []
        for index, each in enumerate(self.shared):
            fitting = [p for p in found if _size(next(iter(p.tasks.values()))) == _size(each)]
            for place in fitting:
                place.shared = each
            if not fitting:
                alone.append(FeatureMaps(f"{self.backbones[0]}[{index}]", shared=each))
        return [*alone, *found]


def _maps(output: Any) -> Iterator[Tensor]:
    """Feature maps in the output of a module: a tensor, those of a list, or first of a tuple."""
    if isinstance(output, Tensor):
        if output.ndim == 4:
            yield output
    elif isinstance(output, list):
        for each in output:
            yield from _maps(each)
    elif isinstance(output, tuple) and output:
        yield from _maps(output[0])


def _size(maps: Tensor) -> Sequence[int]:
    return maps.shape[-2:]


SHARED = "shared"
_TILE_WIDTH = 150


def principal_pictures(maps: Mapping[str, Tensor]) -> tuple[dict[str, np.ndarray], float]:
    """Draw the first three principal components of maps, with a common basis and color scale.

    Args:
        maps: Name -> ``(C, h, w)``, with equal C.

    Returns:
        Name -> ``(h, w, 3)`` uint8, and the share of the variance that the colors show. Colors span
        the 1st to 99th percentile of each component. The sign of a component is chosen so that its
        largest weight is positive. Missing components (C < 3) have half brightness.

    Example:
        >>> pictures, share = principal_pictures({"depth": torch.rand(3, 4, 6)})
        >>> pictures["depth"].shape, round(share, 3)
        ((4, 6, 3), 1.0)
    """
    sizes = {name: each.shape[-2:] for name, each in maps.items()}
    points = torch.cat([each.flatten(1).T.double().cpu() for each in maps.values()])
    centered = points - points.mean(dim=0)
    covariance = centered.T @ centered / len(points)
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    basis = vectors.flip(1)[:, :3]
    largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
    components = centered @ (basis * torch.where(largest < 0, -1.0, 1.0))
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
    """Select places whose names match a pattern; without patterns, places across the network.

    Args:
        places: Places of a network.
        patterns: Names with ``*`` and ``?``.
        rows: Number of places, if there are no patterns.

    Raises:
        InputError: A pattern matches no place; the message lists all places.

    Example:
        >>> places = [FeatureMaps("front_end.*"), FeatureMaps("heads.*")]
        >>> [place.place for place in choose_places(places, ["head*"], rows=1)]
        ['heads.*']
    """
    names = [place.place for place in places]
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            raise InputError(
                f"No place of the network matches {pattern!r}. Places: {', '.join(names)}."
            )
    if patterns:
        return [p for p in places if any(_matches(p.place, pattern) for pattern in patterns)]
    of_tasks = [place for place in places if place.tasks]
    candidates = of_tasks if len(of_tasks) >= rows else list(places)
    return [candidates[index] for index in evenly_spaced(len(candidates), rows)]


def _matches(name: str, pattern: str) -> bool:
    """Whether the name equals or matches the pattern (both may have ``*`` and brackets)."""
    return name == pattern or fnmatch(name, pattern)


@torch.no_grad()
def feature_sheet(
    model: MultiTaskModel,
    image: Tensor,
    patterns: Sequence[str] = (),
    rows: int = 6,
    title: str = "",
) -> np.ndarray:
    """Draw an image, its predictions, and below them the features of every task, layer by layer.

    The first column shows the map of the shared backbone with the same size. It has a separate
    basis of principal components.

    Args:
        model: Any model, on any device.
        image: ``(3, H, W)`` RGB in [0, 1], of a size that the model accepts.
        patterns: Names of places from :func:`~taskprism.analysis.features.collect_features`, with
            ``*`` and ``?`` as wildcards; by default places across the network.
        rows: Number of places, if there are no patterns.
        title: Line of text at the top.

    Returns:
        ``(height, width, 3)`` uint8 RGB.

    Raises:
        InputError: The model has no features per task, or a pattern matches no place.

    Example:
        >>> from taskprism.models import create_model
        >>> model = create_model("pad_net", {"semseg": 5, "depth": 1}, backbone="test_resnet")
        >>> feature_sheet(model, torch.rand(3, 32, 48), rows=2).shape[2]
        3
    """
    batch = model.normalize(image.unsqueeze(0).to(model.image_mean))
    places = choose_places(collect_features(model, batch), patterns, rows)
    if not places:
        raise InputError(f"The model {model.name} has no feature maps of tasks to show.")
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
    assert any_map is not None  # a place has at least one map
    height, width = any_map.shape[-2:]
    scale = f"1/{stride_of(image_size, (height, width))} ({height} x {width})"
    return GridRow(f"{place.place}, {scale}; variance shown: {', '.join(shares)}", pictures)


def _outputs(model: MultiTaskModel, batch: Tensor, image: Tensor, names: Sequence[str]) -> GridRow:
    """The image and its predictions."""
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


def stride_of(image: Sequence[int], maps: Sequence[int]) -> int:
    """Stride of feature maps, from the sizes of an image and its maps; a power of two if possible.

    Sizes of maps are rounded up. At stride 32 an image of 144 x 192 has a map of 5 x 6, although
    the ratio of the heights is nearest to 29.

    Args:
        image: ``(H, W)``.
        maps: ``(h, w)``.

    Example:
        >>> stride_of((144, 192), (5, 6))
        32
    """
    steps = range(1, max(image) + 1)
    fitting = [s for s in steps if all(-(-i // s) == m for i, m in zip(image, maps, strict=True))]
    powers = [stride for stride in fitting if stride.bit_count() == 1]
    return (powers or fitting or [max(round(image[0] / maps[0]), 1)])[0]
