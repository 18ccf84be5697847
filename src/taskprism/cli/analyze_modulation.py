"""``taskprism analyze modulation``: t-SNE of activations that belong to tasks."""

from __future__ import annotations

from typing import Annotated

from rich.table import Table

from taskprism.analysis.modulation import (
    IMAGES,
    check_embedding,
    collect_activations,
    plot_modulation,
)
from taskprism.analysis.run_images import RunImages
from taskprism.atomic import check_writable
from taskprism.cli.arguments import (
    Between,
    Count,
    DataRoot,
    Device,
    Images,
    OptionalFolder,
    OptionalSplit,
    RunArgument,
)
from taskprism.progress import Reporter
from taskprism.text_table import print_whole
from taskprism.training.run_directory import RunDirectory
from taskprism.visualization.plotting import save_figure


def modulation(
    run: RunArgument,
    /,
    *,
    out: OptionalFolder = None,
    images: Images = IMAGES,
    levels: Count = 6,
    split: OptionalSplit = None,
    seed: Annotated[int, Between(0, 2**32 - 1)] = 0,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Plot how much the activations of ASTMT differ between tasks at increasing depth.

    As in figure 6 of ASTMT. Writes DIR/modulation.png: t-SNE of the squeeze-and-excitation
    activations, one point per task and image, and the share of their variance between tasks.

    Args:
        run: A run directory of the model astmt.
        out: Folder for the plot; by default RUN/pictures.
        images: Number of images, from the start of the split.
        levels: Number of layers, evenly spaced over the network.
        split: Split of the images: train, val or test; by default that on which the run is scored.
        seed: Random seed of t-SNE.
        data_root: Folder of the data or its URL, if it has moved since training.
        device: Device such as cpu or cuda:1; by default a GPU if available.
    """
    folder = RunDirectory(run).pictures if out is None else out
    check_writable(folder)
    check_embedding()
    source = RunImages.open(run, split, data_root, device)
    reporter = Reporter()
    chosen = range(min(images, len(source)))
    found = collect_activations(
        source.model, (source.image(index) for index in reporter.track(chosen, "reading layers"))
    )
    title = f"{source.name}, {source.protocol.name} {source.split}, {len(chosen)} images"
    figure = plot_modulation(found, levels, title, seed)
    table = Table(title="Distance between tasks")
    for name in ("layer", "channels", "mean difference", "share of variance"):
        table.add_column(name, justify="left" if name == "layer" else "right")
    for level in found:
        channels = next(iter(level.activations.values())).shape[1]
        table.add_row(
            level.place, str(channels), f"{level.distance:.4f}", f"{level.separation:.1%}"
        )
    print_whole(table)
    file = save_figure(figure, folder / "modulation.png")
    reporter.line(f"Wrote {file}.")
