"""Read uploaded images and predict them, one after the other."""

from __future__ import annotations

import io
import math
import secrets
import shutil
import threading
import time
import warnings
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from taskprism.atomic import path_inside, write_bytes, write_picture
from taskprism.data.files import FileContent, read_image
from taskprism.data.point_clouds import Intrinsics, glb
from taskprism.errors import DataError
from taskprism.layers import resize
from taskprism.models.base import MultiTaskModel
from taskprism.models.inference import predict
from taskprism.models.predicted_image import PredictedImage
from taskprism.serving.limits import Limits, RefusedError
from taskprism.video.converting import overlay
from taskprism.visualization.canvas import blank
from taskprism.visualization.panels import draw_legend

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_LEGEND_WIDTH = 480
_MOST_POINTS = 60_000  # of a surface, which phones draw smoothly
_SMALLEST = 8  # pixels on a side


@dataclass(frozen=True)
class Result:
    """Files of one prediction.

    Attributes:
        folder: Where they are; its name is random.
        panel: The image and all predictions with legends.
        legends: Task -> picture that explains its colors.
        surface: GLB file of the first depth, or None.
        archive: ZIP file of everything.
    """

    folder: Path
    panel: Path
    legends: dict[str, Path]
    surface: Path | None
    archive: Path


class Worker:
    """Predicts one image at a time, and keeps the results for a while.

    Args:
        model: Any model of this package.
        folder: For temporary files.
        limits: What is accepted.
        field_of_view: Of the camera along the width of the image, in degrees, for surfaces.

    Example:
        >>> import tempfile
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     worker = Worker(model, Path(folder), Limits())
        ...     Image.new("RGB", (48, 32)).save(Path(folder, "a.png"))
        ...     result = worker.predict(Path(folder, "a.png"))
        ...     sorted(path.name for path in result.folder.iterdir())[:3]
        ['depth.glb', 'depth.png', 'depth_legend.png']
    """

    def __init__(
        self, model: MultiTaskModel, folder: Path, limits: Limits, field_of_view: float = 60.0
    ) -> None:
        self.model, self.limits = model, limits
        self.folder = folder / "results"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.field_of_view = field_of_view
        self.tasks = list(model.tasks)
        self._lock = threading.Lock()

    def read(self, file: Path) -> Tensor:
        """Uploaded image ``(3, H, W)`` RGB in [0, 1], upright and reduced to the working size.

        Raises:
            RefusedError: The file is too large, is no image, or is damaged.
        """
        if file.stat().st_size > self.limits.bytes:
            raise RefusedError(f"The file is larger than {self.limits.megabytes:g} MB.")
        content = file.read_bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:  # header only
                    width, height = opened.size
        except Image.DecompressionBombError:
            width = height = 2**20
        except Exception as error:  # damaged bytes raise nearly anything
            raise RefusedError(
                "The file is not an image that can be read. Upload a JPEG, PNG, WebP, TIFF, BMP or "
                "GIF file."
            ) from error
        if width * height > self.limits.megapixels * 1e6:
            raise RefusedError(f"The image has more than {self.limits.megapixels:g} megapixels.")
        if min(width, height) < _SMALLEST:
            raise RefusedError(f"The image has less than {_SMALLEST} pixels on a side.")
        try:
            image = read_image(FileContent("The image", content)).as_subclass(Tensor)
        except DataError as error:
            raise RefusedError(
                "The image is damaged, or has a kind of pixels that cannot be read. Save it again "
                "as PNG or JPEG."
            ) from error
        scale = math.sqrt(self.limits.working_megapixels * 1e6 / (width * height))
        if scale < 1:
            size = [max(round(side * scale), 1) for side in image.shape[-2:]]
            image = resize(image[None], (size[0], size[1]), antialias=True)[0].clamp(0, 1)
        return image

    def predict(self, file: Path) -> Result:
        """Predict an uploaded file.

        Raises:
            RefusedError: See :meth:`read`.
        """
        with self._lock:
            image = self.read(file)
            predictions = predict(self.model, image)
            result = PredictedImage("image", image, predictions, self.tasks)
            folder = path_inside(self.folder, secrets.token_hex(16))
            folder.mkdir()
            try:
                return self._write(result, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

    def blend(self, token: str, task: str, opacity: float) -> np.ndarray:
        """One prediction over the image, ``(H, W, 3)`` uint8.

        Args:
            token: Name of the folder of a result.
            task: Name of a task.
            opacity: From 0 (the image) to 1 (the prediction).

        Raises:
            RefusedError: The result has been deleted.
        """
        known = {task.name for task in self.tasks}
        try:
            if not token.isalnum() or task not in known:
                raise FileNotFoundError
            folder = path_inside(self.folder, token)
            with (
                Image.open(folder / "image.png") as below,
                Image.open(path_inside(folder, f"{task}.png")) as above,
            ):
                photograph, colors = np.asarray(below), np.asarray(above)
        except (OSError, AttributeError) as error:
            raise RefusedError(
                "These results have been deleted. Predict the image again."
            ) from error
        opacity = min(max(float(opacity), 0.0), 1.0)
        if opacity == 0:
            return photograph
        return overlay(photograph, colors, opacity)

    def remove_old(self, root: Path) -> None:
        """Delete files below ``root`` that are older than the limit, and empty folders."""
        oldest = time.time() - self.limits.keep_seconds
        changed: dict[Path, float] = {}  # taken first: deleting a file changes its folder
        for path in root.rglob("*"):
            with suppress(OSError):
                changed[path] = path.stat().st_mtime
        for path in sorted(changed, reverse=True):  # files before their folders
            if changed[path] < oldest and path != self.folder:
                with suppress(OSError):  # a folder that is not empty
                    path.rmdir() if path.is_dir() else path.unlink()

    def _write(self, result: PredictedImage, folder: Path) -> Result:
        photograph = (result.image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        write_picture(folder / "image.png", photograph)
        panel = write_picture(folder / "panel.png", np.asarray(result.panel("")))
        legends, surface = {}, None
        for task in self.tasks:
            values = result.tensors[task.name]
            colors = task.color(values)
            write_picture(path_inside(folder, f"{task.name}.png"), colors)
            legend = task.legend(values)
            drawn = None if legend is None else draw_legend(legend, _LEGEND_WIDTH, [colors])
            page = blank(_LEGEND_WIDTH, 1) if drawn is None else drawn
            file = path_inside(folder, f"{task.name}_legend.png")
            legends[task.name] = write_picture(file, np.asarray(page))
            if task.is_depth and surface is None:
                surface = path_inside(folder, f"{task.name}.glb")
                write_bytes(surface, self._surface(values, result.image))
        archive = self._archive(result, folder)
        return Result(folder, panel, legends, surface, archive)

    def camera(self, height: int, width: int) -> Intrinsics:
        """A camera with the assumed field of view."""
        focal = width / 2 / math.tan(math.radians(self.field_of_view) / 2)
        return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2)

    def _surface(self, depth: Tensor, image: Tensor) -> bytes:
        height, width = depth.shape[-2:]
        scale = min(1.0, math.sqrt(_MOST_POINTS / (height * width)))
        size = (max(round(height * scale), 2), max(round(width * scale), 2))
        rows = torch.linspace(0, height - 1, size[0]).round().long()
        columns = torch.linspace(0, width - 1, size[1]).round().long()
        small = depth[:, rows][:, :, columns]  # not averaged: no points between two objects
        colors = resize(image[None], size, antialias=True)[0]
        return glb(small, colors, self.camera(*size))

    def _archive(self, result: PredictedImage, folder: Path) -> Path:
        outputs = ["panels", "pictures", "overlays", "arrays", "labels"]
        has_depth = any(task.is_depth for task in self.tasks)
        camera = self.camera(*result.size) if has_depth else None
        files = result.save(folder / "all", [*outputs, *(["points"] if has_depth else [])], camera)
        more = sorted((folder / "all").rglob("*.json"))
        archive = folder / "predictions.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for file in dict.fromkeys([*files, *more]):
                packed.write(file, file.relative_to(folder / "all").as_posix())
        shutil.rmtree(folder / "all")
        return archive
