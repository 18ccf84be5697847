"""Write labels into files that a data YAML describes; the inverse of :mod:`.encoding`."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from taskprism.tasks.base import Task

#: Fields of a task that have keys of their own in a data YAML, or only concern the network.
_OWN_KEYS = ("name", "channels", "class_names", "loss_weight", "primary_metric", "extra_metrics")


class LabelEncoder:
    """Writes labels of one task, and the keys of the data YAML that read them.

    The form of the files is the task's :attr:`~taskprism.tasks.Task.storage`: PNG of 8 or 16 bits,
    or ``.npy`` with NaN where there is no label. Values that the form cannot hold, such as a depth
    of more than 65.5 m, become pixels without a label.

    Args:
        task: What the labels mean.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> encoder = LabelEncoder(create_task("depth"))
        >>> encoder.keys("depth/{name}.png")["encoding"]
        {'scale': '1/1000'}
        >>> len(encoder.encode(torch.ones(1, 4, 6), torch.ones(1, 4, 6, dtype=torch.bool))) > 0
        True
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.storage = task.storage
        self.ending = "npy" if self.storage is None else "png"

    def keys(self, path: str) -> dict[str, Any]:
        """Keys of the task in a data YAML.

        Args:
            path: Pattern of the files, relative to the root of the data.
        """
        task, storage = self.task, self.storage
        config = task.to_config()
        keys: dict[str, Any] = {"path": path}
        if config["kind"] != task.name:
            keys["kind"] = config["kind"]
        encoding: dict[str, Any] = {}
        if storage is not None and storage.positive is None:
            encoding |= {"scale": storage.scale} if storage.step != 1 else {}
            encoding |= {"offset": storage.offset} if storage.offset else {}
        if task.target_type.is_direction:
            encoding["axes"] = ["right", "up", "toward"]
        if encoding:
            keys["encoding"] = encoding
        if storage is not None:
            one = storage.missing
            keys["ignore"] = [one if task.target_channels == 1 else [one] * task.target_channels]
            if storage.positive is not None:
                keys["positive"] = [storage.positive]
        if not task.target_dtype.is_floating_point:
            keys["classes"] = config.get("class_names") or task.channels
        keys |= _changed(task, config)
        return keys

    def encode(self, values: Tensor, valid: Tensor) -> bytes:
        """Content of a file.

        Args:
            values: ``(target_channels, H, W)`` in the units of the task.
            valid: Boolean ``(1, H, W)``: where there is a label.
        """
        mask, stream = valid[0].numpy(), io.BytesIO()
        array = values.numpy().transpose(1, 2, 0)
        array = array[..., 0] if array.shape[-1] == 1 else array
        if self.storage is None:
            if array.dtype.kind == "f":
                array = np.where(mask if array.ndim == 2 else mask[..., None], array, np.nan)
            np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
            return stream.getvalue()
        Image.fromarray(self._numbers(array, mask)).save(stream, format="png")
        return stream.getvalue()

    def _numbers(self, array: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Stored numbers of values ``(H, W)`` or ``(H, W, C)``."""
        assert self.storage is not None
        storage = self.storage
        if storage.positive is not None:
            numbers = np.where(array >= 0.5, storage.positive, 0)
            fits = np.isfinite(array)
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                numbers = np.rint((array.astype(np.float64) - storage.offset) / storage.step)
            fits = (numbers >= 0) & (numbers <= storage.largest)
            numbers = np.where(fits, numbers, 0)
        if array.ndim == 3:
            fits = fits.all(axis=-1) & ~(numbers == storage.missing).all(axis=-1)
        else:
            fits &= numbers != storage.missing
        if self.task.target_type.is_direction:
            fits &= np.linalg.norm(array, axis=-1) > 0.5  # a vector of length 0 has no direction
        labeled = mask & fits
        labeled = labeled if array.ndim == 2 else labeled[..., None]
        kind = np.uint8 if storage.bits == 8 else np.uint16
        return np.where(labeled, numbers, storage.missing).astype(kind)


def encode_confidence(confidence: Tensor) -> bytes:
    """8-bit PNG of a confidence ``(1, H, W)`` in [0, 1], white where it is 1."""
    stream = io.BytesIO()
    numbers = np.rint(confidence[0].clamp(0, 1).numpy() * 255).astype(np.uint8)
    Image.fromarray(numbers).save(stream, format="png")
    return stream.getvalue()


def _changed(task: Task, config: dict[str, Any]) -> dict[str, Any]:
    """Loss weight and other fields of a task that differ from the defaults of its class."""
    defaults = {f.name: f.default for f in dataclasses.fields(task)}
    fields = {key: value for key, value in config.items() if key in defaults}
    changed = {
        key: value
        for key, value in fields.items()
        if getattr(task, key) != defaults[key] and key not in (*_OWN_KEYS, *task.scoring_fields)
    }
    keys: dict[str, Any] = {}
    if task.loss_weight != defaults["loss_weight"]:
        keys["loss_weight"] = task.loss_weight
    return {**keys, "options": changed} if changed else keys
