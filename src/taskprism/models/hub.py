"""Saved models: in a folder, in a training run, or on the Hugging Face hub."""

from __future__ import annotations

import json
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from taskprism.errors import CheckpointError, InputError, TaskprismError
from taskprism.registry import Registry, import_parts

if TYPE_CHECKING:
    from taskprism.models.base import MultiTaskModel

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_CHECKPOINTS = ("checkpoints/best", "checkpoints/last")


class SavedModel(
    nn.Module,
    PyTorchModelHubMixin,
    ABC,
    library_name="taskprism",
    tags=["multi-task-learning", "dense-prediction"],
):
    """The part of :class:`~taskprism.models.MultiTaskModel` that saves and loads."""

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Plain values from which :meth:`from_config` builds the same model."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with random weights from :attr:`config`, which may come from a stranger."""

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write ``config.json`` and ``model.safetensors``, which :func:`taskprism.load` reads.

        Files are replaced only after all of them have been written completely.

        Args:
            save_directory: Folder; it is created if it does not exist.
            **options: Options of ``huggingface_hub.PyTorchModelHubMixin.save_pretrained``, such as
                ``push_to_hub=True`` and ``repo_id``.

        Raises:
            InputError: The model cannot be rebuilt from a file; the message says why.
            CheckpointError: The files cannot be written, for example because the disk is full.
        """
        config = self.config
        target = Path(save_directory)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".saving-", dir=target) as unfinished:
                options = {"config": config, "repo_id": target.name, **options}
                url = super().save_pretrained(unfinished, **options)
                for file in sorted(Path(unfinished).iterdir(), reverse=True):
                    file.replace(target / file.name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"Cannot write the model to {str(target)!r}: {error}. Free some space or choose "
                "another folder; files that existed before are unchanged."
            ) from error
        return url

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        path_or_hub_id: str | Path,
        device: torch.device | str = "cpu",
        imports: Iterable[str | Path] = (),
    ) -> Self:
        """Same as :func:`taskprism.load`, for a model of this class."""
        model = load(path_or_hub_id, device, imports)
        if not isinstance(model, cls):
            raise InputError(
                f"{str(path_or_hub_id)!r} holds the model {model.name!r}, not "
                f"{getattr(cls, 'name', cls.__name__)!r}; load any model with taskprism.load."
            )
        return model


def load(
    path_or_hub_id: str | Path,
    device: torch.device | str = "cpu",
    imports: Iterable[str | Path] = (),
) -> MultiTaskModel:
    """Load a model that ``save_pretrained`` or a training run has written.

    Loading is safe for files that you do not trust: backbone weights are not downloaded, because
    the file holds all weights, and code is imported only from ``imports``. A file can name classes,
    but only those that are already imported or registered.

    Args:
        path_or_hub_id: A folder with ``config.json`` and ``model.safetensors``; a run directory,
            from which the best checkpoint is loaded, or else the last; or a hub id, ``owner/name``.
        device: Device of the returned model.
        imports: Modules or Python files that define your own parts of this model.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: There is no model, or its files are broken or do not match each other.
        UnknownNameError: It uses a model, task, backbone or distillation that is not registered.
        InputError: It uses a class of a module that is not imported; the message names the module.

    Example:
        >>> import taskprism, tempfile
        >>> model = taskprism.create_model("multi_task", {"depth": 1}, backbone="resnet18")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = model.save_pretrained(folder)
        ...     taskprism.load(folder).name
        'multi_task'
    """
    import_parts(imports)
    folder = find_model_folder(path_or_hub_id)
    config = read_config(folder)
    try:
        model_class = Registry.all["model"].find_saved(config["name"])
        with torch.random.fork_rng(devices=[]):  # random weights that are overwritten below
            model = cast("MultiTaskModel", model_class.from_config(config))
    except KeyError as error:
        if isinstance(error, TaskprismError):
            raise
        raise CheckpointError(f"{str(folder / CONFIG)!r} lacks the key {error}.") from error
    load_weights(model, folder)
    return model.to(device).eval()


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of a saved model into a model of the same architecture.

    Args:
        model: Its weights are replaced.
        folder: Folder with ``model.safetensors``, see :func:`find_model_folder`.

    Raises:
        CheckpointError: The file is missing or broken, or holds other weights.
    """
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot read {str(folder / WEIGHTS)!r}: {error}.") from error
    except RuntimeError as error:
        raise CheckpointError(
            f"{str(folder / WEIGHTS)!r} does not fit the model that {CONFIG} in the same folder "
            f"describes: {error}"
        ) from error


def find_model_folder(path_or_hub_id: str | Path) -> Path:
    """Folder with ``config.json``: the given one, a checkpoint of a run, or a download."""
    path = Path(path_or_hub_id)
    if path.is_dir():
        for folder in (path, *(path / checkpoint for checkpoint in _CHECKPOINTS)):
            if (folder / CONFIG).is_file():
                return folder
        raise CheckpointError(
            f"{str(path)!r} holds no model: neither {CONFIG} nor {' nor '.join(_CHECKPOINTS)}. "
            "Give a folder written by save_pretrained, or the directory of a run that has saved "
            "a checkpoint."
        )
    if re.fullmatch(r"[\w\-]+/[\w\-.]+", str(path_or_hub_id)):
        try:
            return Path(snapshot_download(str(path_or_hub_id), allow_patterns=[CONFIG, WEIGHTS]))
        except Exception as error:  # the hub client has no common base for "offline", "gone", ...
            raise CheckpointError(
                f"There is no folder {str(path_or_hub_id)!r}, and downloading it from the hub "
                f"failed ({type(error).__name__}). Check the path, or the hub id and the "
                "connection."
            ) from error
    raise CheckpointError(
        f"There is no folder {str(path)!r}; give a model folder, a run directory, or a hub id "
        "'owner/name'."
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Content of ``config.json``."""
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Cannot read {str(folder / CONFIG)!r}: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{str(folder / CONFIG)!r} is not a model config.")
    return config
