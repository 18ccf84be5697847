"""``taskprism analyze features``: pictures of features at each layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from taskprism.analysis.feature_pictures import feature_sheet
from taskprism.analysis.features import collect_features
from taskprism.analysis.run_images import RunImages
from taskprism.cli.pictures import write_picture
from taskprism.data.protocol import Split
from taskprism.progress import Reporter


def features(
    run: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    out: Path | None = None,
    images: int = 2,
    names: tuple[str, ...] = (),
    rows: int = 6,
    places: tuple[str, ...] = (),
    show_places: bool = False,
    split: Split = "test",
    data_root: Path | None = None,
    device: str | None = None,
) -> None:
    """Draw what a network sees for each task, layer by layer, as principal components.

    ASTMT, figure 1. Writes one OUT/features_IMAGE.png per image: the predictions above, below them
    the first three principal components of the tasks' feature maps as colors. In a row all tasks
    share one basis, so that equal colors are equal features.

    Args:
        run: A run directory.
        out: Folder for the pictures; by default RUN/pictures.
        images: How many, spread evenly over the split.
        names: Names of images, instead.
        rows: How many layers, spread evenly over the network.
        places: Names of layers, instead; a star stands for any letters.
        show_places: Print the names of all layers that have features of tasks, and draw nothing.
        split: Which images.
        data_root: Folder of the data, if it is no longer where the recipe says.
        device: Such as cpu or cuda:1; by default a GPU if there is one.
    """
    source = RunImages.open(run, split, data_root, device)
    if show_places:
        batch = source.image(0).unsqueeze(0).to(source.model.image_mean)
        for place in collect_features(source.model, source.model.normalize(batch)):
            print(place.place)
        return
    folder = run / "pictures" if out is None else out
    reporter = Reporter()
    for index in reporter.track(source.choose(images, names), "drawing"):
        name = source.dataset[index]["name"]
        title = f"{source.name}, {source.protocol.name} {split}: {name}"
        picture = feature_sheet(source.model, source.image(index), places, rows, title)
        file = write_picture(picture, folder / f"features_{name.replace('/', '_')}.png")
        reporter.line(f"Written to {file}.")
