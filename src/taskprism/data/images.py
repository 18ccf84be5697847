"""Images from whatever a user has: paths, file objects, Pillow images, arrays and tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from taskprism.data.files import FileContent, find_images, from_pillow, read_image
from taskprism.errors import InputError
from taskprism.registry import describe_part
from taskprism.stores.paths import StorePath, as_path

ImageSource = str | Path | StorePath | BinaryIO | Image.Image | np.ndarray | Tensor
"""One image, see :func:`read_source`."""
_CHANNELS = (1, 3, 4)


def read_source(source: ImageSource, name: str = "image") -> tuple[str, Tensor]:
    """Name of an image, and the image as float32 RGB ``(3, H, W)`` in [0, 1].

    Args:
        source: One of

            * a path, a URL that fsspec opens, or an open binary file: EXIF rotation is applied, 16
              bits are kept, gray becomes RGB, opacity is dropped;
            * an image of Pillow: likewise;
            * an array ``(H, W)``, ``(H, W, 1)``, RGB ``(H, W, 3)`` or RGBA ``(H, W, 4)`` of uint8,
              uint16, or floats in [0, 1] (OpenCV reads BGR: pass ``image[..., ::-1]``);
            * a tensor ``(1, H, W)``, RGB ``(3, H, W)`` or RGBA ``(4, H, W)`` of uint8, or of floats
              in [0, 1].
        name: Name of an image that is not from a file.

    Raises:
        InputError: It is something else, or an array or tensor of another shape, type or range.
        DataError: The file is missing or broken, or its brightness is not defined.

    Example:
        >>> name, image = read_source(np.zeros((4, 6), np.uint8))
        >>> name, tuple(image.shape)
        ('image', (3, 4, 6))
    """
    if isinstance(source, (str, Path, StorePath)):
        path = as_path(source)
        return path.stem, _plain(read_image(path))
    if isinstance(source, Image.Image):
        file = getattr(source, "filename", "")
        return (Path(file).stem if file else name), _plain(from_pillow(source, file or name))
    if isinstance(source, np.ndarray):
        return name, _from_array(source, name)
    if isinstance(source, Tensor):
        return name, _from_tensor(source, name)
    if hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise InputError(f"The file of {name} is open as text. Open it with mode 'rb'.")
        file = getattr(source, "name", None)
        named = Path(file).stem if isinstance(file, str) and file else name
        return named, _plain(read_image(FileContent(str(file or name), content)))
    raise InputError(
        f"Cannot read an image from {type(source).__name__}. Give a path, an open binary file, a "
        "Pillow image, an array (H, W, 3) or a tensor (3, H, W)."
    )


def is_folder(source: Any) -> bool:
    """Whether a source is the path of a local folder.

    Example:
        >>> is_folder("."), is_folder(np.zeros((4, 6)))
        (True, False)
    """
    return (
        isinstance(source, (str, Path))
        and isinstance(as_path(source), Path)
        and Path(source).is_dir()
    )


def read_folder(folder: str | Path) -> Iterator[tuple[str, Tensor]]:
    """Names and images of a folder, read one after the other, sorted by name.

    Raises:
        InputError: It contains no image.

    Example:
        >>> next(read_folder("photographs"))  # doctest: +SKIP
        ('kitchen', tensor([[[0.1216, 0.1255, ...
    """
    for file in find_images([folder]):
        yield read_source(file)


def read_channels(images: Iterable[Any], channels: int) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of images with more than three channels.

    Args:
        images: Arrays ``(H, W, channels)`` or tensors ``(channels, H, W)``: uint8, which is divided
            by 255, or floats, which stay as they are.
        channels: What the model takes.

    Raises:
        InputError: An image is of another kind or has other channels.

    Example:
        >>> ((name, image),) = read_channels([np.zeros((4, 6, 5), np.float32)], 5)
        >>> name, tuple(image.shape)
        ('image_1', (5, 4, 6))
    """
    for number, image in enumerate(images, start=1):
        shape = tuple(getattr(image, "shape", ()))
        is_array = isinstance(image, np.ndarray)
        place = 2 if is_array else 0
        if len(shape) != 3 or shape[place] != channels or 0 in shape:
            found = f"the shape {shape}" if shape else describe_part(type(image))
            raise InputError(
                f"This model takes images with {channels} channels: an array (H, W, {channels}) or "
                f"a tensor ({channels}, H, W) with red, green, blue and then the other inputs of "
                f"its data. Got {found}."
            )
        pixels = torch.from_numpy(np.moveaxis(image, 2, 0).copy()) if is_array else image
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise InputError(f"image_{number} is {pixels.dtype}; expected uint8, or floats.")
        scaled = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        yield f"image_{number}", _plain(scaled.detach().cpu())


def _plain(image: Tensor) -> Tensor:
    return image.as_subclass(Tensor)


def _from_array(array: np.ndarray, name: str) -> Tensor:
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[-1] not in _CHANNELS or 0 in pixels.shape:
        hint = ""
        if array.ndim == 3 and array.shape[0] in _CHANNELS:
            hint = " Move the channels to the end: array.transpose(1, 2, 0)."
        raise InputError(f"{name} has the shape {array.shape}; expected (H, W) or (H, W, 3).{hint}")
    if pixels.dtype == np.uint8:
        scaled = pixels.astype(np.float32) / 255
    elif pixels.dtype == np.uint16:
        scaled = pixels.astype(np.float32) / 65535
    elif pixels.dtype.kind == "f":
        scaled = pixels.astype(np.float32)
    else:
        raise InputError(
            f"{name} is an array of {pixels.dtype}; expected uint8, uint16, or floats from 0 to 1."
        )
    return _checked(torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1))), name)


def _from_tensor(tensor: Tensor, name: str) -> Tensor:
    if tensor.ndim != 3 or tensor.shape[0] not in _CHANNELS or 0 in tensor.shape:
        hint = ""
        if tensor.ndim == 4:
            hint = " Give the images of a batch as a list: list(batch)."
        elif tensor.ndim == 3 and tensor.shape[-1] in _CHANNELS:
            hint = " Move the channels to the front: tensor.permute(2, 0, 1)."
        raise InputError(f"{name} has the shape {tuple(tensor.shape)}; expected (3, H, W).{hint}")
    if tensor.dtype == torch.uint8:
        return _checked(tensor.detach().cpu().float() / 255, name)
    if not tensor.is_floating_point():
        raise InputError(
            f"{name} is a tensor of {tensor.dtype}; expected uint8, or floats from 0 to 1."
        )
    return _checked(_plain(tensor.detach().cpu().float()), name)


def _checked(image: Tensor, name: str) -> Tensor:
    """RGB without opacity, if its values are in [0, 1]."""
    image = image[:3] if image.shape[0] == 4 else image
    low, high = image.min().item(), image.max().item()
    if not (low >= 0 and high <= 1):  # also if they are NaN
        hint = ""
        if high > 1 and low >= 0:
            hint = " Divide by 255 (or the largest number of your camera)."
        elif low < 0:
            hint = " Give the image without normalization."
        raise InputError(f"{name} has values from {low:g} to {high:g}; expected 0 to 1.{hint}")
    return image.expand(3, -1, -1).contiguous()
