"""The HTML report of the demonstration, and the photographs it shows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import data
from torch import Tensor

from taskprism.data.protocol import Protocol
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import load
from taskprism.models.inference import predict
from taskprism.rooms.demo.plan import Plan
from taskprism.scoring.tables import Comparison, arrow_title, text_table
from taskprism.training.experiment import build_protocol
from taskprism.visualization import (
    Figure,
    Section,
    as_svg,
    comparison_panel,
    plot_curves,
    read_curves,
    write_report,
)

ROOMS = 4  # test rooms to show
TILE = 232  # pixels, so that four tasks and the image fill the page
# Middlebury 2014 "Motorcycle", as skimage.data.stereo_motorcycle() documents it.
_FOCAL_PIXELS, _BASELINE_METERS, _OFFSET_PIXELS = 994.978, 0.193001, 31.086


def write_demo_report(
    path: Path,
    comparison: Comparison,
    plan: Plan,
    runs: Mapping[str, Path],
    summary: Sequence[str],
) -> None:
    """Write the HTML page.

    Args:
        path: The HTML file.
        comparison: The table of the runs and the trivial baseline.
        plan: The recipes of the runs.
        runs: Name of each method -> its run directory.
        summary: The first paragraphs of the page.
    """
    protocol = build_protocol(plan.recipes[0].data)
    models = {name: load(folder / "checkpoints" / "last") for name, folder in runs.items()}
    manifests = {
        name: json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name, folder in runs.items()
    }
    sections = [
        _comparison_section(comparison),
        _curves_section(comparison, runs),
        _rooms_section(protocol, models),
        _photographs_section(protocol, models),
        _metrics_section(comparison),
        _origin_section(path, plan, protocol, manifests),
    ]
    write_report(path, "taskprism: one image in, every per-pixel answer out", summary, sections)


def _comparison_section(comparison: Comparison) -> Section:
    return Section(
        "Comparison",
        [
            "All networks start from the same backbone weights, train on the same rooms in the "
            "same order, and are scored on test rooms, which were not used for training. The row "
            "“trivial” is the best constant prediction: the most frequent class, the mean depth, "
            "the mean normal and a constant edge probability."
        ],
        text_table(comparison),
    )


def _metrics_section(comparison: Comparison) -> Section:
    table = text_table(comparison, all_metrics=True)
    metrics = [table.headings.index(arrow_title(column)) for column in comparison.columns]
    transposed = table.columns([0, *metrics]).transposed("metric")
    return Section(
        "Every metric",
        ["Angles are in degrees, depth errors in meters, fractions between 0 and 1."],
        replace(transposed, notes=()),
    )


def _curves_section(comparison: Comparison, runs: Mapping[str, Path]) -> Section:
    primary = {c.task: c.metric for c in comparison.columns if c.primary}
    better = {c.task: c.higher_is_better for c in comparison.columns if c.primary}
    curves = {name: [read_curves(folder)] for name, folder in runs.items()}
    drawing = as_svg(plot_curves(curves, primary, better))
    return Section(
        "Training curves",
        [
            "Top row: the loss of each task's final prediction on the training rooms, before "
            "weighting. Bottom row: the task's primary metric on the validation rooms."
        ],
        figures=[Figure("Training loss and validation metric of every task over epochs", drawing)],
    )


def _rooms_section(protocol: Protocol, models: Mapping[str, MultiTaskModel]) -> Section:
    dataset = protocol.dataset("test", protocol.evaluation_transform())
    length = len(dataset)
    tasks = next(iter(models.values())).tasks
    figures = []
    for index in sorted({i * length // ROOMS for i in range(ROOMS)}):
        sample = dataset[index]
        image = sample["image"].as_subclass(Tensor)
        picture = comparison_panel(
            image,
            {name: predict(model, image) for name, model in models.items()},
            {name: target.as_subclass(Tensor) for name, target in sample["targets"].items()},
            {name: valid.as_subclass(Tensor) for name, valid in sample["valid"].items()},
            tasks=tasks,
            tile_width=TILE,
        )
        figures.append(
            Figure(f"Test room {index}: labels and the predictions of each network", picture)
        )
    return Section(
        "Test rooms",
        ["The labels are exact, because the renderer computes them together with the image."],
        figures=figures,
    )


def _photographs_section(protocol: Protocol, models: Mapping[str, MultiTaskModel]) -> Section:
    tasks = next(iter(models.values())).tasks
    figures = []
    for photograph in photographs():
        answers = {
            name: predict(model, photograph.image, protocol.input_size)
            for name, model in models.items()
        }
        picture = comparison_panel(
            photograph.image,
            answers,
            photograph.targets,
            photograph.valid,
            tasks=tasks,
            tile_width=TILE,
        )
        figures.append(Figure(f"{photograph.name.capitalize()}: {photograph.origin}", picture))
    return Section(
        "Photographs",
        [
            "The networks were trained on rendered rooms only, where objects and camera differ, so "
            "expect little. All networks share one color scale per task. The motorcycle has a "
            "measured depth."
        ],
        figures=figures,
    )


def _origin_section(
    path: Path, plan: Plan, protocol: Protocol, manifests: Mapping[str, Mapping[str, Any]]
) -> Section:
    recipe = plan.recipes[0]
    first = next(iter(manifests.values()))
    hardware, versions = first["hardware"], first["versions"]
    size = " x ".join(str(side) for side in protocol.input_size)
    options = recipe.data.options
    rooms = ", ".join(
        f"{options[key]} rooms for {what}"
        for key, what in [("train_length", "training"), ("test_length", "testing")]
        if key in options
    )
    facts = [
        ("Data", f"protocol {protocol.name}, {size} pixels; {rooms}"),
        ("License of the data", protocol.license),
        ("Backbone", f"{recipe.model.backbone}; weights: {first['licenses']['weights']}"),
        ("Training", f"{recipe.epochs} epochs, batch size {recipe.data.batch_size}"),
        ("Seed", str(recipe.seed)),
        (
            "Machine",
            f"{hardware['cpu']}, CPU cores: {hardware['cores']}, threads: {hardware['threads']}",
        ),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    demo, runs = (shlex.quote(str(folder)) for folder in (path.parent, path.parent / "runs"))
    return Section(
        "How to reproduce this page",
        [
            "The commands below produce every number and picture on this page. The recipes are "
            "part of the package. Each run directory contains its complete recipe, manifest, log, "
            "checkpoints and scores."
        ],
        facts=facts,
        commands=[
            f"taskprism demo --out {demo} --seed {recipe.seed}",
            "",
            "# or step by step",
            *(
                f"taskprism train {runs}/{one.name}/recipe.yaml --out runs/{one.name}"
                for one in plan.recipes
            ),
            f"taskprism compare {runs} --all-metrics",
            f"taskprism predict {runs}/{plan.recipes[-1].name} PHOTO.jpg --out predictions",
        ],
    )


@dataclass(frozen=True)
class Photograph:
    """A photograph with its source and measured labels.

    Attributes:
        name: Name in captions.
        image: ``(3, H, W)`` float32 RGB in [0, 1].
        origin: Author and license.
        targets: Task name -> measured label ``(C, H, W)``, if known.
        valid: Task name -> boolean ``(1, H, W)``.

    Example:
        >>> import torch
        >>> from taskprism.rooms.demo.report import Photograph
        >>> Photograph("gray", torch.full((3, 8, 8), 0.5), "made up, CC0").targets
        {}
    """

    name: str
    image: Tensor
    origin: str
    targets: dict[str, Tensor] = field(default_factory=dict)
    valid: dict[str, Tensor] = field(default_factory=dict)


def photographs() -> list[Photograph]:
    """Four photographs; the motorcycle has a measured depth.

    Example:
        >>> from taskprism.rooms.demo.report import photographs
        >>> [photograph.name for photograph in photographs()]
        ['motorcycle', 'coffee', 'astronaut', 'chelsea']
    """
    left, _, disparity = data.stereo_motorcycle()
    known = np.isfinite(disparity)
    pixels = np.where(known, disparity, 0) + _OFFSET_PIXELS
    depth = (_FOCAL_PIXELS * _BASELINE_METERS / pixels).astype(np.float32)
    return [
        Photograph(
            "motorcycle",
            _as_tensor(left),
            "Middlebury Stereo 2014 (Scharstein et al., GCPR 2014), with depth from structured "
            "light; shipped by scikit-image",
            {"depth": torch.from_numpy(depth)[None]},
            {"depth": torch.from_numpy(known)[None]},
        ),
        Photograph("coffee", _as_tensor(data.coffee()), "Rachel Michetti, CC0"),
        Photograph("astronaut", _as_tensor(data.astronaut()), "NASA, public domain"),
        Photograph("chelsea", _as_tensor(data.chelsea()), "Stefan van der Walt, CC0"),
    ]


def _as_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 255
