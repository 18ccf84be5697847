"""The report of the demonstration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from taskprism.data.protocol import Protocol
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import load
from taskprism.models.inference import predict
from taskprism.rooms.demo.photographs import photographs
from taskprism.rooms.demo.plan import Plan
from taskprism.scoring.comparison import Comparison
from taskprism.scoring.tables import (
    arrow_title,
    best_rows,
    caption,
    cells,
    format_statistic,
    headings,
    number,
    shown_columns,
    title,
)
from taskprism.training.experiment import build_protocol
from taskprism.visualization import (
    Figure,
    Section,
    TableBlock,
    as_svg,
    comparison_panel,
    plot_curves,
    read_curves,
    write_report,
)

ROOMS = 4  # held-out rooms shown
TILE = 232  # pixels, so that four tasks and the image fill the page


def write_demo_report(
    path: Path,
    comparison: Comparison,
    plan: Plan,
    runs: Mapping[str, Path],
    summary: Sequence[str],
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        comparison: Of the runs (and others).
        plan: What was trained.
        runs: Name of a method -> its run directory.
        summary: First paragraphs.
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
    shown = shown_columns(comparison)
    first = len(headings(comparison)) - 1 - len(shown)
    best = {
        (row, first + index)
        for index, column in enumerate(shown)
        for row in best_rows(comparison, column)
    }
    return Section(
        "Comparison",
        [
            "All networks saw the same rooms in the same order, start from the same backbone "
            "weights, and are scored on rooms that none of them has seen. The row “trivial” is the "
            "best answer of one who never looks at the image: majority class, mean depth, mean "
            "normal, one probability of an edge."
        ],
        TableBlock(
            title(comparison),
            headings(comparison),
            [cells(comparison, row) for row in comparison.rows],
            frozenset(best),
            caption(comparison),
        ),
    )


def _metrics_section(comparison: Comparison) -> Section:
    columns = comparison.columns
    best = {
        (index, 1 + row)
        for index, column in enumerate(columns)
        for row in best_rows(comparison, column)
    }
    rows = [
        [
            arrow_title(column),
            *(
                format_statistic(row.values.get((column.task, column.metric)), number)
                for row in comparison.rows
            ),
        ]
        for column in columns
    ]
    names = ["metric", *(row.name for row in comparison.rows)]
    return Section(
        "Every metric",
        ["Angles are in degrees, depth errors in meters, fractions between 0 and 1."],
        TableBlock(title(comparison), names, rows, frozenset(best)),
    )


def _curves_section(comparison: Comparison, runs: Mapping[str, Path]) -> Section:
    primary = {c.task: c.metric for c in comparison.columns if c.primary}
    better = {c.task: c.higher_is_better for c in comparison.columns if c.primary}
    curves = {name: [read_curves(folder)] for name, folder in runs.items()}
    drawing = as_svg(plot_curves(curves, primary, better))
    return Section(
        "Training curves",
        [
            "Above, the loss of each task on the training rooms (of the final prediction, before "
            "its weight); below, its metric on validation rooms."
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
        figures.append(Figure(f"Test room {index}: labels and what each network says", picture))
    return Section(
        "Rooms the networks have not seen",
        ["The labels are exact: the rooms are drawn by a ray caster that knows everything."],
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
        figures.append(Figure(f"{photograph.name} ({photograph.origin})", picture))
    return Section(
        "Photographs",
        [
            "The networks have only ever seen drawn rooms, so expect little: a cat is no furniture "
            "to them, and the camera is another. All networks share one color scale per task. The "
            "motorcycle comes with a measured depth."
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
    images = ", ".join(
        f"{options[key]} for {what}"
        for key, what in [("train_length", "training"), ("test_length", "testing")]
        if key in options
    )
    facts = [
        ("Data", f"protocol {protocol.name} at {size}; {images}; {protocol.license}"),
        ("Backbone", f"{recipe.model.backbone}; weights: {first['licenses']['weights']}"),
        ("Photographs", "; ".join(f"{photo.name}: {photo.origin}" for photo in photographs())),
        ("Training", f"{recipe.epochs} epochs, batches of {recipe.data.batch_size}"),
        ("Seed", str(recipe.seed)),
        ("Machine", f"{hardware['cores']} cores, {hardware['threads']} threads, {hardware['cpu']}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    runs = path.parent / "runs"
    return Section(
        "How to make it again",
        [
            "Every number and picture here comes from the commands below. The recipes are part of "
            "the package; each run directory holds its resolved recipe, manifest, log, checkpoints "
            "and scores."
        ],
        facts=facts,
        commands=[
            f"taskprism demo --out {path.parent} --seed {recipe.seed}",
            "",
            "# or one by one",
            *(
                f"taskprism train {runs / one.name / 'recipe.yaml'} --out runs/{one.name}"
                for one in plan.recipes
            ),
            f"taskprism compare {runs} --all-metrics",
            f"taskprism predict {runs / plan.recipes[-1].name} PHOTO.jpg --out predictions",
        ],
    )
