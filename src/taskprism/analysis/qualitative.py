"""Qualitative sheets: the predictions of several methods for the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from taskprism.analysis.run_images import RunImages
from taskprism.data.protocol import Split
from taskprism.data.sample import Sample, collate
from taskprism.errors import InputError
from taskprism.models.base import MultiTaskModel
from taskprism.scoring.compare import method_name
from taskprism.scoring.runs import RunResult
from taskprism.tasks.base import Task
from taskprism.visualization.panels import comparison_panel


class Gallery:
    """Predictions of trained methods; the single-task networks of one method form one row.

    Args:
        runs: Runs with the same protocol. Runs of one method with different tasks (single-task
            networks) form one row. Of several seeds the lowest is shown.
        split: Split of the images; by default the split on which each run is scored.
        root: Folder of the data, if it has moved since training.
        device: Device of the networks; by default a GPU if there is one.

    Attributes:
        methods: Name of a method -> its networks.
        source: The first run, whose images are shown.

    Raises:
        InputError: There are no runs, or their protocols or input sizes differ.

    Example:
        >>> from taskprism.scoring.runs import find_runs
        >>> gallery = Gallery(find_runs(["runs"]))  # doctest: +SKIP
        >>> panels = list(gallery.panels([0, 10, 20]))  # doctest: +SKIP
    """

    def __init__(
        self,
        runs: Sequence[RunResult],
        split: Split | None = None,
        root: str | Path | None = None,
        device: str | None = None,
    ) -> None:
        _check(runs)
        opened: dict[str, list[RunImages]] = {}
        shown: set[tuple[str, str]] = set()
        for run in sorted(runs, key=lambda run: run.seed):
            name = method_name(run)
            if all((name, task) in shown for task in run.metrics):
                continue
            shown |= {(name, task) for task in run.metrics}
            opened.setdefault(name, []).append(RunImages.open(run.path, split, root, device))
        order = list(dict.fromkeys(method_name(run) for run in runs))
        self.methods = {name: [each.model for each in opened[name]] for name in order}
        self.source = opened[order[0]][0]
        self.tasks = self._tasks()

    def _tasks(self) -> list[Task]:
        """Tasks that at least one method predicts, in the order of the protocol."""
        predicted = {
            task.name: task
            for models in self.methods.values()
            for model in models
            for task in model.tasks
        }
        return [predicted[t.name] for t in self.source.protocol.tasks if t.name in predicted]

    def panels(self, indices: Sequence[int], tile_width: int | None = None) -> Iterator[np.ndarray]:
        """Draw one panel per image: the image, labels, and one row per method.

        Args:
            indices: Indices of images in the split.
            tile_width: Width in pixels; by default that of the image, between 240 and 360.
        """
        for index in indices:
            sample = self.source.dataset[index]
            predictions = {
                name: dict(item for model in models for item in _predict(model, sample).items())
                for name, models in self.methods.items()
            }
            source = self.source
            yield comparison_panel(
                sample["image"].as_subclass(Tensor),
                predictions,
                {name: target.as_subclass(Tensor) for name, target in sample["targets"].items()},
                {name: valid.as_subclass(Tensor) for name, valid in sample["valid"].items()},
                tasks=self.tasks,
                title=f"{source.protocol.name} {source.split}: {sample['name']}",
                tile_width=tile_width,
            )


def _check(runs: Sequence[RunResult]) -> None:
    if not runs:
        raise InputError("Expected at least one run directory, got none.")
    kinds: Mapping[tuple[str, object], Path] = {
        (run.protocol, run.input_size): run.path for run in runs
    }
    if len(kinds) > 1:
        listed = "; ".join(f"{name} at {size} ({path})" for (name, size), path in kinds.items())
        raise InputError(
            f"The runs have different images: {listed}. Show runs of one protocol and input size "
            "at a time."
        )


@torch.inference_mode()
def _predict(model: MultiTaskModel, sample: Sample) -> dict[str, Tensor]:
    """Decoded predictions ``(target_channels, H, W)`` at the size of the labels."""
    batch = collate([sample], model.tasks)
    outputs = model(model.normalize(batch.images.to(model.image_mean)))
    return {
        task.name: task.decode(
            task.resize_output(
                outputs[task.name].float(),
                (batch.targets[task.name].shape[-2], batch.targets[task.name].shape[-1]),
            )
        )[0].cpu()
        for task in model.tasks
    }
