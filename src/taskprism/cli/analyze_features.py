"""``taskprism analyze features``: pictures of features at each layer."""

from __future__ import annotations

from taskprism.analysis.features import collect_features, feature_sheet
from taskprism.analysis.run_images import RunImages
from taskprism.atomic import check_writable, safe_name, write_picture
from taskprism.cli.arguments import (
    Count,
    DataRoot,
    Device,
    Images,
    Names,
    OptionalFolder,
    OptionalSplit,
    RunArgument,
)
from taskprism.progress import Reporter
from taskprism.training.run_directory import RunDirectory


def features(
    run: RunArgument,
    /,
    *,
    out: OptionalFolder = None,
    images: Images = 2,
    names: Names = (),
    rows: Count = 6,
    places: Names = (),
    show_places: bool = False,
    split: OptionalSplit = None,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Draw the features of each task, layer by layer, as principal components.

    As in figure 1 of ASTMT. Writes DIR/features_IMAGE.png for each image: the predictions at the
    top, below them the first three principal components of the tasks' feature maps as colors. All
    tasks of a row share one basis, so that equal colors are equal features.

    Args:
        run: A run directory.
        out: Folder for the pictures; by default RUN/pictures.
        images: Number of images, evenly spaced over the split.
        names: Names of images to draw instead.
        rows: Number of layers, evenly spaced over the network.
        places: Names of layers to draw instead; * matches any letters.
        show_places: Print the names of all layers with features per task, and draw nothing.
        split: Split of the images: train, val or test; by default that on which the run is scored.
        data_root: Folder of the data or its URL, if it has moved since training.
        device: Device such as cpu or cuda:1; by default a GPU if available.
    """
    source = RunImages.open(run, split, data_root, device)
    if show_places:
        batch = source.image(0).unsqueeze(0).to(source.model.image_mean)
        for place in collect_features(source.model, source.model.normalize(batch)):
            print(place.place)
        return
    folder = RunDirectory(run).pictures if out is None else out
    check_writable(folder)
    reporter = Reporter()
    for index in reporter.track(source.choose(images, names), "drawing"):
        name = source.dataset[index]["name"]
        title = f"{source.name}, {source.protocol.name} {source.split}: {name}"
        picture = feature_sheet(source.model, source.image(index), places, rows, title)
        file = write_picture(folder / f"features_{safe_name(name)}.png", picture)
        reporter.line(f"Wrote {file}.")
