"""``taskprism predict FILE.onnx``: run an exported file on images, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from PIL import Image, ImageOps, UnidentifiedImageError

from taskprism.atomic import check_writable, path_inside, safe_name, write_json, write_picture
from taskprism.cli.arguments import Folder, Tasks
from taskprism.errors import DataError, InputError
from taskprism.export.runtime import OnnxPredictor
from taskprism.progress import Reporter

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def predict(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.onnx")],
    images: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE [IMAGE ...]")
    ],
    /,
    *,
    out: Folder,
    raw: bool = False,
    size: Literal["network", "native"] = "network",
    tasks: Tasks = (),
) -> None:
    """Run an exported file on images of any size, without PyTorch.

    Writes DIR/TASK/NAME.png (a colored picture), DIR/panels/NAME.png (the image with all pictures
    from left to right), with --raw DIR/TASK/NAME.npy, and DIR/classes.json.

    Args:
        file: File of `taskprism export`.
        images: Image files, or folders of images, which are searched with their subfolders.
        out: Folder for the results.
        raw: Also write arrays.
        size: Whether the network sees the image at about its training size, or at the size of the
            image. The results are as large as the image either way.
        tasks: Tasks to predict; by default all.
    """
    reporter = Reporter()
    predictor = OnnxPredictor(file)
    outputs = predictor.choose(tasks)
    native = size == "native"
    found = _find(images)
    check_writable(out)
    failed: list[Path] = []
    names: dict[str, Path] = {}
    for path in reporter.track(found, "predicting"):
        try:
            pixels = _read(path)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            reporter.line(f"Cannot read {path}: {error}")
            failed.append(path)
            continue
        predictions = predictor.predict(pixels, [output.name for output in outputs], native)
        name = safe_name(path.stem if path.stem not in names else path.name)
        names[name] = path
        pictures = {output.name: output.color(predictions[output.name]) for output in outputs}
        for task, picture in pictures.items():
            write_picture(path_inside(out, task, f"{name}.png"), picture)
            if raw:
                target = path_inside(out, task, f"{name}.npy")
                target.parent.mkdir(parents=True, exist_ok=True)
                np.save(target, predictions[task])
        photograph = (pixels * 255).round().astype(np.uint8)
        panel = np.concatenate([photograph, *pictures.values()], axis=1)
        write_picture(path_inside(out, "panels", f"{name}.png"), panel)
    classes = {output.name: output.class_names for output in outputs if output.class_names}
    if classes:
        write_json(out / "classes.json", classes)
    reporter.line(f"Predicted {len(found) - len(failed)} of {len(found)} images, see {out}.")
    if failed:
        raise DataError(
            f"Cannot read {len(failed)} of {len(found)} images: {', '.join(map(str, failed))}."
        )


def _find(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (each for each in path.rglob("*") if each.suffix.lower() in _SUFFIXES)
            found += sorted(inside)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"There is no image or folder {str(path)!r}. Check its name.")
    if not found:
        raise DataError(f"There is no image in {', '.join(map(str, paths))}.")
    return found


def _read(path: Path) -> np.ndarray:
    """RGB ``(H, W, 3)`` float32 in [0, 1], upright; opacity is dropped."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            gray = np.asarray(upright, np.float32) / np.float32(65535)
            return np.repeat(gray[..., None], 3, axis=2)
        if upright.mode in ("I", "F"):
            raise OSError(
                f"its numbers have 32 bits, of which it is not known what is white (mode "
                f"{upright.mode}). Save it with 8 or 16 bits"
            )
        return np.asarray(upright.convert("RGB"), np.float32) / np.float32(255)
