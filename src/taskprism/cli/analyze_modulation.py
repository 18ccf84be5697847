"""``taskprism analyze modulation``: t-SNE of activations that belong to tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from taskprism.analysis.modulation_tsne import IMAGES, collect_activations, plot_modulation
from taskprism.analysis.run_images import RunImages
from taskprism.cli.wide import print_wide
from taskprism.data.protocol import Split
from taskprism.progress import Reporter
from taskprism.visualization.plotting import save_figure


def modulation(
    run: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    out: Path | None = None,
    images: int = IMAGES,
    levels: int = 6,
    split: Split = "test",
    seed: int = 0,
    data_root: Path | None = None,
    device: str | None = None,
) -> None:
    """Map how differently ASTMT attends to its tasks at increasing depth.

    ASTMT, figure 6. Writes OUT/modulation.png: t-SNE of the activations of squeeze-and-excitation,
    a point per task and image, and the share of their variance that lies between tasks.

    Args:
        run: A run directory of astmt.
        out: Folder for the plot; by default RUN/pictures.
        images: How many, the first of the split.
        levels: How many layers, spread evenly over the network.
        split: Which images.
        seed: Of t-SNE.
        data_root: Folder of the data, if it is no longer where the recipe says.
        device: Such as cpu or cuda:1; by default a GPU if there is one.
    """
    source = RunImages.open(run, split, data_root, device)
    reporter = Reporter()
    chosen = range(min(images, len(source)))
    found = collect_activations(
        source.model, (source.image(index) for index in reporter.track(chosen, "reading layers"))
    )
    title = f"{source.name}, {source.protocol.name} {split}, {len(chosen)} images"
    figure = plot_modulation(found, levels, title, seed)
    table = Table(title="How far tasks are apart")
    for name in ("layer", "channels", "mean difference", "share of variance"):
        table.add_column(name, justify="left" if name == "layer" else "right")
    for level in found:
        channels = next(iter(level.activations.values())).shape[1]
        table.add_row(
            level.place, str(channels), f"{level.distance:.4f}", f"{level.separation:.1%}"
        )
    print_wide(table)
    file = save_figure(figure, (run / "pictures" if out is None else out) / "modulation.png")
    reporter.line(f"Written to {file}.")
